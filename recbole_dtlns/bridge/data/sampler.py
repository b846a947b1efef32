"""The training sampler: RecBole's, minus the forbidden pairs, from any pool, vectorised and reproducible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.sampler import Sampler

from recbole_dtlns.bridge.data.pairs import observed_pairs
from recbole_dtlns.data.item_sets import Forbidden, PairSet
from recbole_dtlns.negatives.pools.contract import CandidatePool, PoolContext
from recbole_dtlns.negatives.pools.uniform import UniformPool
from recbole_dtlns.numerics.counter_random import counter_uniform

_BELOW_ONE = 1 - 2.0**-24

MakePool = Callable[[PairSet], CandidatePool]


class DTLNSSampler(Sampler):
    """Draws from a user's items that are neither observed in train nor forbidden.

    It is built from the train split alone and serves training alone: evaluation keeps RecBole's own
    samplers. `used_ids` holds the observed train items, as RecBole defines it; forbidden pairs are kept in the
    pools, never in `used_ids`, so nothing that derives a mask from a sampler can see them.

    Args:
        train: the clean train split.
        forbidden: pairs that may not be drawn, in RecBole's ids.
        seed: of the draws.
        make_pool: makes the pool of candidates, begun, from the pairs that may not be drawn; None for the uniform one.
    """

    used_ids: Any  # RecBole: by phase while it is built, then one set of item ids per user

    def __init__(self, train: Dataset, forbidden: Forbidden, seed: int, make_pool: MakePool | None = None) -> None:
        super().__init__("train", [train], distribution="uniform")
        self.phase = "train"
        self.used_ids = self.used_ids[self.phase]
        self.seed = seed
        self.epoch = 0
        observed = observed_pairs(train)
        self.blocked = observed.union(forbidden)
        self.uniform = UniformPool()
        counts = np.bincount(observed.items, minlength=self.item_num)
        self.uniform.begin(PoolContext(self.blocked, self.user_num, self.item_num, counts))
        self.pool = make_pool(self.blocked) if make_pool else self.uniform

    def candidates(
        self, users: np.ndarray, positives: np.ndarray, rows: np.ndarray, n: int, uniformly: bool = False
    ) -> torch.Tensor:
        """Draw n items for every row; the same row, epoch and seed always give the same items.

        Args:
            users, positives: ids of the rows [B].
            rows: identity of each row within the epoch [B].
            n: items per row.
            uniformly: from the uniform pool, whatever the sampler's own is.

        Returns:
            int64 [B, n].
        """
        pool = self.uniform if uniformly else self.pool
        return torch.as_tensor(pool.draw(users, positives, counter_uniform(self.seed, self.epoch, rows, n)))

    def row_uniform(self, rows: np.ndarray) -> torch.Tensor:
        """One number in [0, 1) per row, other than those that draw candidates; float32 [B]."""
        return torch.as_tensor(counter_uniform(~self.seed, self.epoch, rows, 1)[:, 0]).float().clamp_max(_BELOW_ONE)

    def row_mixing(self, rows: np.ndarray, layers: int) -> torch.Tensor:
        """Numbers in [0, 1) for the layers of every row, other than those above; float32 [B, layers]."""
        drawn = counter_uniform(~self.seed, self.epoch, rows, 1 + layers)[:, 1:]
        return torch.as_tensor(drawn).float().clamp_max(_BELOW_ONE)

    def batch_uniform(self, batch: int, n: int) -> np.ndarray:
        """Numbers in [0, 1) for a whole batch, by its number in the epoch; float64 [n]."""
        return counter_uniform(~self.seed, self.epoch, np.array([-1 - batch]), n)[0]

    def sample_by_key_ids(self, key_ids: np.ndarray, num: int) -> torch.Tensor:
        """RecBole's interface: `num` blocks of one item per key, drawn with NumPy's global generator."""
        users = np.tile(np.asarray(key_ids), num)
        return torch.as_tensor(self.uniform.draw(users, users, np.random.random((len(users), 1)))[:, 0])
