"""Uniform draws from the items that a user may get as negatives, without rejection."""

from __future__ import annotations

import numpy as np

from recbole_dtlns.errors import DataError
from recbole_dtlns.item_sets import PairSet


class UniformPool:
    """Exact uniform draws over each user's unblocked items, in time that does not depend on how many are blocked.

    A user with blocked items b_0 < b_1 < ... has n = last - |b| items left. The r-th of them (r in 0..n-1) is
    1 + r + (number of k with b_k - k - 1 <= r), found by one binary search over all users' b_k - k at once.

    Args:
        blocked: sets of pairs that may not be drawn, in ids 1..n_items-1; they are united.
        n_users: number of user ids.
        n_items: number of item ids, the padding id 0 included.

    Raises:
        DataError: a user has every item blocked.
    """

    def __init__(self, *blocked: PairSet, n_users: int, n_items: int) -> None:
        union = PairSet.of(
            np.concatenate([pairs.users for pairs in blocked]), np.concatenate([pairs.items for pairs in blocked])
        )
        self._start = np.searchsorted(union.users, np.arange(n_users))
        counts = np.bincount(union.users, minlength=n_users)
        self.free = n_items - 1 - counts
        full = np.flatnonzero(self.free <= 0)
        if len(full):
            raise DataError(
                f"{len(full)} users (the first: id {full[0]}) have all {n_items - 1} items blocked, so nothing is left "
                "to draw as a negative; filter them with user_inter_num_interval"
            )
        self._stride = n_items
        order = np.arange(len(union)) - self._start[union.users]
        self._keys = union.users * self._stride + union.items - order - 1
        self._union_keys = union.users * self._stride + union.items

    def draw(self, users: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """One item for every uniform number.

        Args:
            users: user ids [B].
            uniform: numbers in [0, 1), [B, n].

        Returns:
            int64 item ids [B, n], never blocked, never 0.
        """
        users = np.asarray(users)[:, None]
        free = self.free[users]
        rank = np.minimum((uniform * free).astype(np.int64), free - 1)  # rounding must not reach `free`
        skipped = np.searchsorted(self._keys, users * self._stride + rank, side="right") - self._start[users]
        return 1 + rank + skipped

    def blocks(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether each (user, item) pair is blocked, bool of the broadcast shape."""
        keys = np.asarray(users) * self._stride + np.asarray(items)
        return np.searchsorted(self._union_keys, keys, "left") < np.searchsorted(self._union_keys, keys, "right")
