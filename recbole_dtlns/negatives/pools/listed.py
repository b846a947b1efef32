"""Candidates drawn from lists that somebody already has."""

from __future__ import annotations

import numpy as np

from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import DataError
from recbole_dtlns.negatives.pools.contract import PoolContext, UniformPool, below


class ListPool:
    """Draws uniformly from a list of items per user; users without one draw from all their unblocked items.

    Args:
        listed: the lists; their blocked pairs are left out.
        blocked, n_users, n_items: as for `UniformPool`.
    """

    def __init__(self, listed: PairSet, blocked: PairSet, n_users: int, n_items: int) -> None:
        self._all = UniformPool(blocked, n_users, n_items)
        keys, taken = (pairs.users * n_items + pairs.items for pairs in (listed, blocked))
        kept = ~np.isin(keys, taken)
        self._items = listed.items[kept]
        self._counts = np.bincount(listed.users[kept], minlength=n_users)
        self._start = np.cumsum(self._counts) - self._counts

    @classmethod
    def from_context(cls, context: PoolContext) -> ListPool:
        if context.listed is None:
            raise DataError("dtlns_pool: file needs dtlns_pool_file, a table of user_id and item_id")
        return cls(context.listed, context.blocked, context.n_users, context.n_items)

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`; the positives do not matter."""
        users = np.asarray(users)
        drawn = np.empty(uniform.shape, dtype=np.int64)
        own = self._counts[users] > 0
        drawn[~own] = self._all.draw(users[~own], positives[~own], uniform[~own])
        listing = users[own][:, None]
        drawn[own] = self._items[self._start[listing] + below(uniform[own], self._counts[listing])]
        return drawn
