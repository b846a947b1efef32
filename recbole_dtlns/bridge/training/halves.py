"""Steps of knowledge models: this package's for the half of interactions, RecBole's own for the half of facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import KGDataLoaderState

from recbole_dtlns.bridge.data.dataloader import WEIGHT
from recbole_dtlns.bridge.training.training_step import Losses, LossFunction


class StepsOfRows(Trainer):
    """Put behind RecBole's trainer of a knowledge model, whose epochs of either half are this class's.

    RecBole's trainers of these name the loss of each half to the epoch that they inherit. What is named for batches of
    facts alone is left as it is.

    Attributes:
        step_of_rows: makes the step out of the model's own loss; None where there is none but RecBole's.
    """

    step_of_rows: Callable[[LossFunction], LossFunction] | None = None

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: LossFunction | None = None, show_progress: bool = False
    ) -> Any:
        if self.step_of_rows is not None and train_data.state != KGDataLoaderState.KG:
            loss_func = self.step_of_rows(loss_func or self.model.calculate_loss)
        return super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)


class StepBesideFacts:
    """Keeps a batch's facts, which are not as many as its rows, out of the step, and gives them to the model's loss.

    Args:
        make_step: makes the step of the rows out of a loss.
        loss_function: the model's own loss of rows and facts.
        fields: the columns of facts.
        one_mean: whether that loss is one mean over both. Where rows are weighed, the halves are then taken apart, and
            each counts by its size.
    """

    def __init__(
        self,
        make_step: Callable[[LossFunction], LossFunction],
        loss_function: LossFunction,
        fields: set[str],
        one_mean: bool,
    ) -> None:
        self._fields, self._one_mean = fields, one_mean
        self._loss_function = loss_function
        self._facts: dict[str, torch.Tensor] = {}
        self._step = make_step(self._with_facts)

    def __call__(self, interaction: Interaction) -> Losses:
        """The loss of one batch."""
        columns = interaction.interaction
        facts = {field: values for field, values in columns.items() if field in self._fields}
        rows = {field: values for field, values in columns.items() if field not in self._fields}
        if not facts or not self._one_mean or WEIGHT not in rows:
            self._facts = facts
            return self._step(Interaction(rows))
        n_rows, n_facts = len(rows[WEIGHT]), len(next(iter(facts.values())))
        of_facts = self._loss_function(Interaction({**_emptied(rows), **facts}))
        self._facts = _emptied(facts)
        of_rows = self._step(Interaction(rows))
        return (n_rows * of_rows + n_facts * of_facts) / (n_rows + n_facts)

    def _with_facts(self, rows: Interaction) -> Losses:
        return self._loss_function(Interaction({**rows.interaction, **self._facts}))


def _emptied(columns: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {field: values[:0] for field, values in columns.items()}
