"""A loss over the whole lists of a batch's users, in place of a model's BPR term; the rest of its loss stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_dtlns.bridge.data.user_loader import UserDataLoader
from recbole_dtlns.bridge.models.capability import Layers
from recbole_dtlns.bridge.models.propagation import propagation_shared, vectors
from recbole_dtlns.bridge.models.ranking_loss import bpr_term, term_replaced
from recbole_dtlns.bridge.models.scoring import Scorer
from recbole_dtlns.errors import UnsupportedModelError
from recbole_dtlns.losses.contract import Listed, ListLoss, Others
from recbole_dtlns.losses.shared_negatives import SharedNegatives
from recbole_dtlns.losses.user_lists import ListPlaces


@dataclass(frozen=True)
class ListObjective:
    """What is minimised in place of a model's BPR term.

    Attributes:
        loss: over a user's list.
        layers: how the model holds its vectors.
        shared: draws the other items of a batch; None where all of them are there.
    """

    loss: ListLoss
    layers: Layers
    shared: SharedNegatives | None = None


class ListStep:
    """Wraps a model's loss for batches of users: its BPR term is the mean over users of a loss over their lists.

    Scores are products of the model's vectors, of which a graph model makes those of all users and items once in a
    batch. What the model adds for the rows of a batch stays: its regularisation is that of the batch's users, each with
    one observed item and one target, as in a pairwise step.

    Args:
        model: the RecBole model; it holds one `BPRLoss`.
        loader: of its batches, set to the epoch.
        objective: what is minimised.
        loss_function: the model's loss, as RecBole's trainer would call it.

    Raises:
        UnsupportedModelError: the model has no `BPRLoss`, or several.
    """

    def __init__(
        self,
        model: AbstractRecommender,
        loader: UserDataLoader,
        objective: ListObjective,
        loss_function: Callable[[Interaction], Any],
    ) -> None:
        term = bpr_term(model)
        if term is None:
            raise UnsupportedModelError(
                f"{type(model).__name__} holds no BPRLoss, or several, so a loss over lists cannot take its place: set "
                "dtlns_loss to model"
            )
        self.model, self.loader = model, loader
        self._term = term
        self._objective = objective
        self._loss_function = loss_function
        self._batches = 0

    def __call__(self, interaction: Interaction) -> Any:
        """The loss of one batch, as the loader made it.

        Raises:
            UnsupportedModelError: the model's scores are no products of its vectors, though its class's are.
        """
        self._batches += 1
        with propagation_shared(self.model):
            if self._batches == 1:
                self._check_scores(interaction)
            users = interaction[self.loader.uid_field]
            loss = self.losses(users, *vectors(self.model, self._objective.layers)).mean()
            with term_replaced(self._term, lambda positive, negative: loss):
                return self._loss_function(interaction)

    def losses(self, users: torch.Tensor, user_table: torch.Tensor, item_table: torch.Tensor) -> torch.Tensor:
        """The loss of each user [B].

        Args:
            users: ids [B].
            user_table, item_table: the model's vectors of all users and items [n, D].
        """
        on_host = users.cpu().numpy()
        places = self.loader.lists.of(on_host)
        own = user_table[users]

        def listed(rows: np.ndarray, items: np.ndarray, probability: np.ndarray | None = None) -> Listed:
            at, named = (torch.as_tensor(values, device=users.device) for values in (rows, items))
            scores = (own[at] * item_table[named]).sum(dim=1)
            chances = None if probability is None else torch.as_tensor(probability, device=users.device)
            return Listed(at, scores, chances)

        return self._objective.loss.lists(
            listed(places.observed_rows, places.observed_items),
            listed(places.target_rows, places.target_items, places.target_probability),
            self._others(on_host, places, own, item_table),
        )

    def _others(self, users: np.ndarray, places: ListPlaces, own: torch.Tensor, item_table: torch.Tensor) -> Others:
        shared = self._objective.shared
        if shared is None:
            rows = np.concatenate([places.observed_rows, places.target_rows])
            columns = np.concatenate([places.observed_items, places.target_items]) - 1  # without the padding item
            scores, log_weights = own @ item_table[1:].T, None
        else:
            uniform = self.loader.negatives.batch_uniform(self._batches, self._objective.loss.config.items)
            drawn = shared.draw(users, None, uniform)
            rows, columns = drawn.rows, drawn.columns
            scores = own @ item_table[torch.as_tensor(drawn.items, device=own.device)].T
            log_weights = torch.as_tensor(drawn.log_weight, device=own.device)
        left_out = torch.zeros(scores.shape, dtype=torch.bool, device=own.device)
        left_out[torch.as_tensor(rows, device=own.device), torch.as_tensor(columns, device=own.device)] = True
        return Others(scores, left_out, log_weights)

    def _check_scores(self, interaction: Interaction) -> None:
        loader = self.loader
        items = torch.stack([interaction[loader.iid_field], interaction[loader.neg_item_id]], dim=1)
        if not Scorer(self.model, loader).multiplies(interaction[loader.uid_field], items):
            name = type(self.model).__name__
            raise UnsupportedModelError(
                f"{name}'s predict gives other scores than the product of its two vectors, which a loss over lists "
                f"multiplies: set dtlns_loss to bpr, or mend predict or forward of {name}"
            )
