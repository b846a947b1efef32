"""The softmax over all items of sequential models, with further targets, and without items that are no negatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import nn

from recbole_dtlns.bridge.data.dataloader import EpochDataLoader
from recbole_dtlns.bridge.models.ranking_loss import term_replaced
from recbole_dtlns.errors import UnsupportedModelError
from recbole_dtlns.losses.further_targets import ItemsOfUsers, softmax_over_all


@dataclass(frozen=True)
class SoftmaxObjective:
    """What is changed in a model's softmax over all items.

    Attributes:
        further: pseudo-positives, with their weights: further targets of every sequence of their users.
        left_out: false negatives, which leave the denominator.
    """

    further: ItemsOfUsers
    left_out: ItemsOfUsers


class SoftmaxStep:
    """Wraps a model's loss: its softmax over all items has further targets, and lacks what is left out.

    Args:
        model: the RecBole model; its `loss_fct` is a `CrossEntropyLoss`.
        loader: of its batches, set to the epoch.
        objective: what is changed.
        loss_function: the model's loss, as RecBole's trainer would call it.

    Raises:
        UnsupportedModelError: the model has no such term.
    """

    def __init__(
        self,
        model: AbstractRecommender,
        loader: EpochDataLoader,
        objective: SoftmaxObjective,
        loss_function: Callable[[Interaction], Any],
    ) -> None:
        term = getattr(model, "loss_fct", None)
        if not isinstance(term, nn.CrossEntropyLoss):
            raise UnsupportedModelError(
                f"{type(model).__name__} holds no CrossEntropyLoss as its loss_fct, so its softmax cannot be changed: "
                "use dtlns_preset: off"
            )
        self._term, self._user_field = term, loader.uid_field
        self._objective, self._loss_function = objective, loss_function

    def __call__(self, interaction: Interaction) -> Any:
        """The loss of one batch, as the loader made it."""
        users = interaction[self._user_field]
        further, left_out = self._objective.further.of(users), self._objective.left_out.of(users)

        def mean_loss(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return softmax_over_all(scores, targets, further, left_out).mean()

        with term_replaced(self._term, mean_loss):
            return self._loss_function(interaction)
