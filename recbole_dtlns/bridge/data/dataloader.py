"""The training loader: observed rows, pseudo-positive rows, and candidates for every negative."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction, cat_interactions
from recbole.utils import InputType

from recbole_dtlns.bridge.data.pairs import label_column, with_extra_rows
from recbole_dtlns.bridge.data.rows import rows_of
from recbole_dtlns.bridge.data.sampler import DTLNSSampler
from recbole_dtlns.data.atomic_file import WEIGHT
from recbole_dtlns.data.item_sets import PseudoPositives
from recbole_dtlns.numerics.schedule import Schedule

CANDIDATES = "dtlns_candidates"
UNIFORM = "dtlns_uniform"
ROW = "dtlns_row"
CHOSEN = "dtlns_chosen"  # items that a negative vector was made from; written during the step, not by the loader


class EpochDataLoader(TrainDataLoader):
    """RecBole's training loader, told its epoch: what it draws depends on seed, epoch and row alone.

    Of a run on several processes, each makes its own part of every batch.
    """

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration draw what belongs to this epoch."""
        self._sampler.epoch = epoch

    @property
    def negatives(self) -> DTLNSSampler:
        """What draws."""
        return self._sampler

    @property
    def epoch(self) -> int:
        """The epoch that is drawn for."""
        return self._sampler.epoch

    def __iter__(self) -> Iterator[Interaction]:
        return super().__iter__() if self.num_workers else self._batches()

    def _batches(self) -> Iterator[Interaction]:
        """The batches that RecBole would make, of arrays of rows instead of lists."""
        # PyTorch's iterator draws a number before it shuffles.
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        order = np.array(list(self.sampler))
        for start in range(0, len(order), self.batch_size):
            yield self.collate_fn(order[start : start + self.batch_size])

    def collate_fn(self, index: list[int] | np.ndarray) -> Interaction:
        """This process's part of the batch of these rows; it does not depend on which worker makes it."""
        return self.batch_of(np.asarray(index)[self.config.processes.share(len(index)).rows])

    def batch_of(self, rows: np.ndarray) -> Interaction:
        """The batch of these rows."""
        return super().collate_fn(rows)


class DTLNSTrainDataLoader(EpochDataLoader):
    """RecBole's training loader with pseudo-positive rows and candidate columns.

    A batch has RecBole's layout (k negatives are k blocks of the batch; pointwise rows start with the positives)
    and more columns. `dtlns_candidates`, int64 [rows, n], holds the items that the row's negative is to be
    chosen from: zeros for pointwise positives; the first one is the negative until a sampler decides. Where the data
    label their rows, each keeps its label (RecBole would call all of them positive), those that are not liked stand at
    the end of the batch, and negatives are drawn for the others alone. `dtlns_uniform`, float32 [rows], is a random
    number for the sampler's own use, and `dtlns_row`, int64 [rows], what identifies the row within the epoch, for
    drawing more of them. When there are pseudo-positives, `dtlns_weight`,
    float32 [rows], weighs the rows. `_dataset` stays the clean train split.

    Args:
        config: the run's configuration.
        dataset: the clean train split.
        sampler: draws the candidates.
        positives: pairs added as rows, with their weights, in RecBole's ids.
        n_candidates: candidates per negative, by epoch.
        warm_up: number of epochs that draw one uniform negative instead.
        shuffle: whether rows are shuffled every epoch.
    """

    def __init__(
        self,
        config: Any,
        dataset: Dataset,
        sampler: DTLNSSampler,
        positives: PseudoPositives,
        n_candidates: Schedule,
        warm_up: int = 0,
        shuffle: bool = True,
    ) -> None:
        self._schedule = n_candidates
        self._warm_up = warm_up
        self._rows = with_extra_rows(dataset, positives) if len(positives) else dataset.inter_feat
        self._weights = torch.ones(len(self._rows))
        self._weights[len(dataset) :] = torch.as_tensor(positives.weight, dtype=torch.float32)
        self._has_positives = len(positives) > 0
        self._label = label_column(dataset)
        self._set_neg_sample_args(config, dataset, config["MODEL_INPUT_TYPE"], config["train_neg_sample_args"])
        self.sample_size = len(self._rows)
        # TrainDataLoader's own constructor would count the observed rows only.
        super(TrainDataLoader, self).__init__(config, dataset, sampler, shuffle=shuffle)

    @property
    def warming_up(self) -> bool:
        """Whether this epoch's negatives are uniform, and not to be chosen."""
        return self._sampler.epoch < self._warm_up

    @property
    def n_candidates(self) -> int:
        """Candidates per negative in this epoch."""
        return 1 if self.warming_up else self._schedule.count_at(self._sampler.epoch)

    def batch_of(self, rows: np.ndarray) -> Interaction:
        """The batch of these rows, with candidates."""
        return self._with_candidates(self.positives_of(rows), rows)

    def positives_of(self, rows: np.ndarray) -> Interaction:
        """The columns of these rows, before negatives are drawn for them."""
        places = torch.as_tensor(rows)
        data = Interaction({field: values.index_select(0, places) for field, values in self._rows.interaction.items()})
        data = self.transform(self._dataset, self._dataset.join(data))
        if self._has_positives:
            data.update(Interaction({WEIGHT: self._weights[places]}))
        return data

    @property
    def labelled(self) -> bool:
        """Whether rows have labels of their own, so that a batch is not made of equal blocks."""
        return self._label is not None

    @property
    def weighs_differently(self) -> bool:
        """Whether some rows have another weight than others."""
        return len(self._weights.unique()) > 1

    def negative_rows(self, candidates: torch.Tensor) -> slice:
        """Where the negatives of a pointwise batch stand, k blocks of them, behind as many positives as a block has.

        Args:
            candidates: of the batch [rows, n].
        """
        of_negatives = len(candidates) - len(candidates) // self.times
        if self._label is not None:
            of_negatives = int((candidates[:, 0] > 0).sum())
        first = of_negatives // self.neg_sample_num
        return slice(first, first + of_negatives)

    def _with_candidates(self, data: Interaction, rows: np.ndarray) -> Interaction:
        if self._label is None:
            return self._drawn(data, rows)
        liked = data[self._label] > 0
        others = rows_of(data, ~liked)
        others.update(self._nothing_drawn(rows[~liked.numpy()]))
        if not liked.any():
            return others
        wanted = rows_of(data, liked)
        batch = self._drawn(wanted, rows[liked.numpy()])
        batch[self._label][: len(wanted)] = wanted[self._label]
        return cat_interactions([batch, others]) if len(others) else batch

    def _nothing_drawn(self, rows: np.ndarray) -> Interaction:
        none = torch.zeros(len(rows), self.n_candidates, dtype=torch.long)
        return Interaction({CANDIDATES: none, UNIFORM: torch.zeros(len(rows)), ROW: torch.as_tensor(rows)})

    def _drawn(self, data: Interaction, rows: np.ndarray) -> Interaction:
        blocks = self.neg_sample_num
        users, positives = (np.tile(data[field].numpy(), blocks) for field in (self.uid_field, self.iid_field))
        identities = np.concatenate([rows + block * self.sample_size for block in range(blocks)])
        candidates = self._sampler.candidates(users, positives, identities, self.n_candidates, self.warming_up)
        batch = self.sampling_func(data, candidates[:, 0].contiguous())
        uniform, row = self._sampler.row_uniform(identities), torch.as_tensor(identities)
        drawn = Interaction({CANDIDATES: candidates, UNIFORM: uniform, ROW: row})
        if self.dl_format == InputType.POINTWISE:
            drawn = cat_interactions([self._nothing_drawn(rows), drawn])
        batch.update(drawn)
        return batch
