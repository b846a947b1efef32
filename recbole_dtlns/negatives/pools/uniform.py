"""Candidates drawn uniformly; nothing is drawn by rejection."""

from __future__ import annotations

import numpy as np

from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import DataError
from recbole_dtlns.negatives.pools.contract import CandidatePool, PoolContext
from recbole_dtlns.numerics.key_filter import KeyFilter


class UniformPool(CandidatePool):
    """`uniform`: draws each user's unblocked items alike."""

    shareable = True

    def begin(self, context: PoolContext) -> None:
        """As `CandidatePool.begin`.

        Raises:
            DataError: a user has every item blocked.
        """
        self._draws = UniformDraws(context.blocked, context.n_users, context.n_items)
        self.probability = np.full(context.n_items, 1 / (context.n_items - 1))
        self.probability[0] = 0

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`; the positives do not matter."""
        return self._draws.draw(users, positives, uniform)


class UniformDraws:
    """Exact uniform draws over each user's unblocked items, in time that does not depend on how many are blocked.

    An item is drawn from all items, and where it is blocked, another one by its rank among the unblocked: of n items, f
    of them free, a free one then has the probability 1/n + (n - f)/n * 1/f = 1/f. What is left of the random number
    serves the second draw, so there is no loop.

    The rank: a user with blocked items b_0 < b_1 < ... has as r-th free item (r from 0)
    1 + r + (number of k with b_k - k - 1 <= r), found by one binary search over all users' b_k - k at once.

    Args:
        blocked: pairs that may not be drawn, in ids 1..n_items-1.
        n_users: number of user ids.
        n_items: number of item ids, the padding id 0 included.

    Raises:
        DataError: a user has every item blocked.
    """

    def __init__(self, blocked: PairSet, n_users: int, n_items: int) -> None:
        self._start = np.searchsorted(blocked.users, np.arange(n_users))
        counts = np.bincount(blocked.users, minlength=n_users)
        self.free = n_items - 1 - counts
        full = np.flatnonzero(self.free <= 0)
        if len(full):
            raise DataError(
                f"{len(full)} users (the first: id {full[0]}) have all {n_items - 1} items blocked, so nothing is left "
                "to draw as a negative; filter them with user_inter_num_interval"
            )
        self._stride = n_items
        order = np.arange(len(blocked)) - self._start[blocked.users]
        self._keys = blocked.users * self._stride + blocked.items - order - 1
        self._blocked_keys = blocked.users * self._stride + blocked.items
        self._filter = KeyFilter(self._blocked_keys)

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`; the positives do not matter."""
        users = np.asarray(users)
        point = uniform * (self._stride - 1)
        items = point.astype(np.int64)
        point -= items  # uniform again, and independent of the item
        items += 1
        rows, columns = self.blocked_places(users, items)
        again = users[rows]
        items[rows, columns] = self.nth_free(again, below(point[rows, columns], self.free[again]))
        return items

    def blocked_places(self, users: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the items [B, n] that are blocked for the rows' users [B]."""
        found = self._filter.places_of((users * self._stride)[:, None] + items)
        return found // items.shape[1], found % items.shape[1]

    def nth_free(self, users: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """The rank-th (from 0) unblocked item of each user; arrays that broadcast against each other."""
        skipped = np.searchsorted(self._keys, users * self._stride + rank, side="right") - self._start[users]
        return 1 + rank + skipped

    def free_before(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How many unblocked items of each user have a smaller id; arrays that broadcast against each other."""
        before = np.searchsorted(self._blocked_keys, users * self._stride + items) - self._start[users]
        return items - 1 - before


def below(uniform: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Uniform integers in 0..count-1 from uniform numbers in [0, 1); rounding must not reach `count`."""
    return np.minimum((uniform * count).astype(np.int64), count - 1)
