"""Batches of users, for losses over whole lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataloader.general_dataloader import TrainDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import InputType

from recbole_dtlns.bridge.data.dataloader import EpochDataLoader
from recbole_dtlns.bridge.data.sampler import DTLNSSampler
from recbole_dtlns.bridge.recbole_values import ONE_UNIFORM
from recbole_dtlns.losses.user_lists import UserLists


class UserDataLoader(EpochDataLoader):
    """RecBole's training loader with a row per user that has train pairs.

    A batch has the layout of RecBole's pairwise batches, for what a model adds to its ranking loss (regularisation,
    contrastive terms): each user stands there with one of its observed items and, as the negative, one of its targets,
    drawn anew every epoch; a user without targets stands there with the observed item twice. The lists themselves are
    `lists`. `_dataset` stays the clean train split.

    Args:
        config: the run's configuration.
        dataset: the clean train split.
        sampler: draws for the batch, where lists are drawn.
        lists: of every user, in RecBole's ids.
        users: per batch.
        shuffle: whether users are shuffled every epoch.
    """

    def __init__(
        self,
        config: Any,
        dataset: Dataset,
        sampler: DTLNSSampler,
        lists: UserLists,
        users: int,
        shuffle: bool = True,
    ) -> None:
        self.lists = lists
        self._users_at_once = users
        self._set_neg_sample_args(config, dataset, InputType.PAIRWISE, ONE_UNIFORM)
        owners = dataset.inter_feat[self.uid_field].numpy()
        self._pairs = np.argsort(owners, kind="stable")
        self._start = np.searchsorted(owners[self._pairs], np.arange(dataset.user_num + 1))
        self.sample_size = len(lists.users)
        # TrainDataLoader's own constructor would count the observed rows.
        super(TrainDataLoader, self).__init__(config, dataset, sampler, shuffle=shuffle)

    def _init_batch_size_and_step(self) -> None:
        self.step = self._users_at_once
        self.set_batch_size(self.step)

    def batch_of(self, rows: np.ndarray) -> Interaction:
        """The batch of these users, by their places in `lists`."""
        users = self.lists.users[rows]
        first, count = self._start[users], self._start[users + 1] - self._start[users]
        drawn = (self._sampler.row_uniform(users).double().numpy() * count).astype(np.int64)
        pairs = self._pairs[first + np.minimum(drawn, count - 1)]
        rows = self._dataset.inter_feat[torch.as_tensor(pairs)]
        data = self.transform(self._dataset, self._dataset.join(rows))
        # Other numbers than those of the pairs: as if the users had further ids.
        uniform = self._sampler.row_uniform(users + len(self._start)).double().numpy()
        named = self.lists.one_target(users, uniform, data[self.iid_field].numpy())
        return self.sampling_func(data, torch.as_tensor(named))
