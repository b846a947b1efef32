"""The training sampler: RecBole's, minus the forbidden pairs, vectorised and reproducible."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.sampler import Sampler

from recbole_dtlns.glue.dataset import observed_pairs
from recbole_dtlns.item_sets import Forbidden
from recbole_dtlns.negatives.counter_random import counter_uniform
from recbole_dtlns.negatives.pool import UniformPool


class DTLNSSampler(Sampler):
    """Uniform draws from a user's items that are neither observed in train nor forbidden.

    It is built from the train split alone and serves training alone: evaluation keeps RecBole's own
    samplers. `used_ids` holds the observed train items, as RecBole defines it; forbidden pairs are kept in the
    pool, never in `used_ids`, so nothing that derives a mask from a sampler can see them.

    Args:
        train: the clean train split.
        forbidden: pairs that may not be drawn, in RecBole's ids.
        seed: of the draws.
    """

    used_ids: Any  # RecBole: by phase while it is built, then one set of item ids per user

    def __init__(self, train: Dataset, forbidden: Forbidden, seed: int) -> None:
        super().__init__("train", [train], distribution="uniform")
        self.phase = "train"
        self.used_ids = self.used_ids[self.phase]
        self.seed = seed
        self.epoch = 0
        observed = observed_pairs(train)
        self.pool = UniformPool(observed, forbidden, n_users=self.user_num, n_items=self.item_num)

    def candidates(self, users: np.ndarray, rows: np.ndarray, n: int) -> torch.Tensor:
        """Draw n items for every row; the same row, epoch and seed always give the same items.

        Args:
            users: user ids [B].
            rows: identity of each row within the epoch [B].
            n: items per row.

        Returns:
            int64 [B, n].
        """
        return torch.as_tensor(self.pool.draw(users, counter_uniform(self.seed, self.epoch, rows, n)))

    def sample_by_key_ids(self, key_ids: np.ndarray, num: int) -> torch.Tensor:
        """RecBole's interface: `num` blocks of one item per key, drawn with NumPy's global generator."""
        users = np.tile(np.asarray(key_ids), num)
        return torch.as_tensor(self.pool.draw(users, np.random.random((len(users), 1)))[:, 0])
