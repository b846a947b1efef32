"""Candidates drawn from lists that somebody already has."""

from __future__ import annotations

import numpy as np

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.negatives.pools.contract import CandidatePool, PoolContext
from recbole_dtlns.negatives.pools.uniform import UniformDraws, below


class ListPool(CandidatePool):
    """`file`: draws from the lists of a table."""

    class Config(ComponentConfig):
        """Where the lists are."""

        prefix = "pool_"

        file: str | None = None
        """file: table of user_id and item_id (.tsv or .parquet); users that it does not name draw uniformly."""

    config: Config

    def begin(self, context: PoolContext) -> None:
        """As `CandidatePool.begin`.

        Raises:
            ConfigError: no table is named.
        """
        if self.config.file is None:
            raise ConfigError("dtlns_pool: file needs dtlns_pool_file, a table of user_id and item_id")
        listed = context.read_pairs(self.config.file)
        self._draws = ListDraws(listed, context.blocked, context.n_users, context.n_items)

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`; the positives do not matter."""
        return self._draws.draw(users, positives, uniform)


class ListDraws:
    """Draws uniformly from a list of items per user; users without one draw from all their unblocked items.

    Args:
        listed: the lists; their blocked pairs are left out.
        blocked, n_users, n_items: as for `UniformDraws`.
    """

    def __init__(self, listed: PairSet, blocked: PairSet, n_users: int, n_items: int) -> None:
        self._all = UniformDraws(blocked, n_users, n_items)
        keys, taken = (pairs.users * n_items + pairs.items for pairs in (listed, blocked))
        kept = ~np.isin(keys, taken)
        self._items = listed.items[kept]
        self._counts = np.bincount(listed.users[kept], minlength=n_users)
        self._start = np.cumsum(self._counts) - self._counts

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`; the positives do not matter."""
        users = np.asarray(users)
        drawn = np.empty(uniform.shape, dtype=np.int64)
        own = self._counts[users] > 0
        drawn[~own] = self._all.draw(users[~own], positives[~own], uniform[~own])
        listing = users[own][:, None]
        drawn[own] = self._items[self._start[listing] + below(uniform[own], self._counts[listing])]
        return drawn
