"""The training loader: observed rows, pseudo-positive rows, and candidates for every negative."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import InputType

from recbole_dtlns.glue.dataset import with_extra_rows
from recbole_dtlns.glue.sampler import DTLNSSampler
from recbole_dtlns.item_sets import PseudoPositives

CANDIDATES = "dtlns_candidates"
WEIGHT = "dtlns_weight"


class DTLNSTrainDataLoader(TrainDataLoader):
    """RecBole's training loader with pseudo-positive rows and candidate columns.

    A batch has RecBole's layout (k negatives are k blocks of the batch; pointwise rows start with the positives)
    and two more columns. `dtlns_candidates`, int64 [rows, n], holds the items that the row's negative is to be
    chosen from: zeros for pointwise positives; the first one is the negative until a selector decides. When there are
    pseudo-positives, `dtlns_weight`, float32 [rows], weighs the rows. `_dataset` stays the clean train split.

    Args:
        config: the run's configuration.
        dataset: the clean train split.
        sampler: draws the candidates.
        positives: pairs added as rows, in RecBole's ids.
        weight: of every added row.
        n_candidates: candidates per negative.
        shuffle: whether rows are shuffled every epoch.
    """

    def __init__(
        self,
        config: Any,
        dataset: Dataset,
        sampler: DTLNSSampler,
        positives: PseudoPositives,
        weight: float,
        n_candidates: int,
        shuffle: bool = True,
    ) -> None:
        self.n_candidates = n_candidates
        self._rows = with_extra_rows(dataset, positives) if len(positives) else dataset.inter_feat
        self._weights = torch.ones(len(self._rows))
        self._weights[len(dataset) :] = weight
        self._has_positives = len(positives) > 0
        self._set_neg_sample_args(config, dataset, config["MODEL_INPUT_TYPE"], config["train_neg_sample_args"])
        self.sample_size = len(self._rows)
        # TrainDataLoader's own constructor would count the observed rows only.
        super(TrainDataLoader, self).__init__(config, dataset, sampler, shuffle=shuffle)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration draw the candidates of this epoch."""
        self._sampler.epoch = epoch

    def collate_fn(self, index: list[int]) -> Interaction:
        """The batch of these rows; what it holds does not depend on which process makes it."""
        rows = torch.as_tensor(np.asarray(index))
        data = Interaction({field: values[rows] for field, values in self._rows.interaction.items()})
        data = self.transform(self._dataset, self._dataset.join(data))
        if self._has_positives:
            data.update(Interaction({WEIGHT: self._weights[rows]}))
        return self._with_candidates(data, rows.numpy())

    def _with_candidates(self, data: Interaction, rows: np.ndarray) -> Interaction:
        blocks = self.neg_sample_num
        users = np.tile(data[self.uid_field].numpy(), blocks)
        identities = np.concatenate([rows + block * self.sample_size for block in range(blocks)])
        candidates = self._sampler.candidates(users, identities, self.n_candidates)
        batch = self.sampling_func(data, candidates[:, 0].contiguous())
        if self.dl_format == InputType.POINTWISE:
            candidates = torch.cat([torch.zeros(len(rows), self.n_candidates, dtype=torch.long), candidates])
        batch.update(Interaction({CANDIDATES: candidates}))
        return batch
