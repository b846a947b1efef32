"""Candidates drawn by popularity."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.negatives.pools.contract import CandidatePool, PoolContext
from recbole_dtlns.negatives.pools.uniform import UniformDraws, below


class PopularityPool(CandidatePool):
    """`popularity`: draws items by how often they occur in train."""

    class Config(ComponentConfig):
        """How much popularity counts."""

        prefix = "pool_"

        power: float = Field(0.75, ge=0)
        """popularity: an item is drawn in proportion to count ** power; 1: popularity, 0: uniform."""

    config: Config
    shareable = True

    def begin(self, context: PoolContext) -> None:
        """As `CandidatePool.begin`.

        Raises:
            DataError: a user has every item blocked.
        """
        self._draws = PopularityDraws(
            context.blocked, context.n_users, context.n_items, context.counts, self.config.power
        )
        self.probability = self._draws.probability

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`; the positives do not matter."""
        return self._draws.draw(users, positives, uniform)


class PopularityDraws:
    """Draws each unblocked item with probability proportional to max(count, 1) ** power.

    As for uniform draws, an item is drawn from all items (by Walker's alias method), and where it is blocked, another
    one by searching the cumulated weights of the unblocked. There weights are rounded to integers of a sum near
    2^62 / users, so that sums are exact and an item of small weight can still be drawn.

    Args:
        blocked, n_users, n_items: as for `UniformDraws`.
        counts: how often each item occurs in train [n_items].
        power: 1 is popularity, 0 uniform; 0.75 is the value of word2vec (Mikolov et al., NIPS 2013).

    Attributes:
        probability: of every item where nothing is blocked [n_items].
    """

    def __init__(self, blocked: PairSet, n_users: int, n_items: int, counts: np.ndarray, power: float) -> None:
        self._uniform = UniformDraws(blocked, n_users, n_items)  # raises where nothing is left
        counts = np.maximum(counts, 1)
        weights = (counts / counts.max()) ** power  # at most 1 whatever the power
        weights[0] = 0
        scale = min(2.0**62 / (n_users + 1), 2.0**52) / weights.sum()
        mass = np.where(np.arange(n_items) > 0, np.maximum((weights * scale).astype(np.int64), 1), 0)
        self.probability = mass / mass.sum()
        self._own_share, self._alias = _alias_table(self.probability[1:])
        self._cumulated = np.cumsum(mass)
        self._stride = int(self._cumulated[-1]) + 1
        self._start = np.searchsorted(blocked.users, np.arange(n_users))
        blocked_mass = np.concatenate([[0], np.cumsum(mass[blocked.items])])
        end = np.append(self._start[1:], len(blocked))
        self._free = self._cumulated[-1] - (blocked_mass[end] - blocked_mass[self._start])
        # The mass of the user's unblocked items before each blocked one, and what to add to step over it.
        self._removed = blocked_mass
        before = self._cumulated[blocked.items] - mass[blocked.items]
        before -= blocked_mass[:-1] - blocked_mass[self._start[blocked.users]]
        self._keys = blocked.users * self._stride + before

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`; the positives do not matter."""
        users = np.asarray(users)
        point = uniform * len(self._alias)
        place = point.astype(np.int64)
        point -= place
        share = self._own_share.take(place)
        other = point >= share
        items = np.where(other, self._alias.take(place), place)
        items += 1
        rows, columns = self._uniform.blocked_places(users, items)
        if len(rows):
            point, share, other = point[rows, columns], share[rows, columns], other[rows, columns]
            left = np.where(other, (point - share) / np.maximum(1 - share, 1e-300), point / np.maximum(share, 1e-300))
            items[rows, columns] = self._free_item(users[rows], np.minimum(left, 1 - 2.0**-53))
        return items

    def _free_item(self, users: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        point = below(uniform, self._free[users])
        passed = np.searchsorted(self._keys, users * self._stride + point, side="right")
        point = point + self._removed[passed] - self._removed[self._start[users]]
        return np.searchsorted(self._cumulated, point, side="right")


def _alias_table(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of its own cell that each entry keeps, and who has the rest (Walker 1977, built as Vose 1991 does)."""
    n = len(probability)
    share, alias = probability * n, np.arange(n)
    small, large = list(np.flatnonzero(share < 1)), list(np.flatnonzero(share >= 1))
    while small and large:
        poor, rich = small.pop(), large[-1]
        alias[poor] = rich
        share[rich] -= 1 - share[poor]
        if share[rich] < 1:
            small.append(large.pop())
    share[small + large] = 1.0  # what rounding left over
    return share, alias
