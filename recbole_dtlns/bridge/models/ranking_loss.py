"""Losses over K negatives put into a model in place of its own BPR term; the rest of the model's loss stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.model.loss import BPRLoss
from torch import nn
from torch.nn import functional

from recbole_dtlns.bridge.data.dataloader import CHOSEN, WEIGHT, DTLNSTrainDataLoader
from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.errors import ContractError, UnsupportedModelError
from recbole_dtlns.losses.contract import RowLoss, SharedLoss
from recbole_dtlns.losses.further_targets import ItemsOfUsers
from recbole_dtlns.losses.negative_weights import NegativeWeights
from recbole_dtlns.losses.shared_negatives import SharedNegatives

Tables = tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]
Vectors = Callable[[], tuple[torch.Tensor, torch.Tensor]]
LabelTerm = nn.BCEWithLogitsLoss | nn.BCELoss


@dataclass(frozen=True)
class Objective:
    """What is minimised in place of a model's BPR term.

    Attributes:
        loss: over a row's own negatives, or over such as a batch shares.
        shared: the negatives that a batch shares; None where each row has its own.
        negative_weights: of negatives that may be false ones; None for ones.
        further: targets of a user's sequences beside those of the rows; None for none.
    """

    loss: RowLoss | SharedLoss
    shared: SharedNegatives | None = None
    negative_weights: NegativeWeights | None = None
    further: ItemsOfUsers | None = None


class RankingLoss:
    """A model's loss with its BPR term replaced. Rows and negatives are weighed in that term.

    Args:
        model: the model; it holds one `BPRLoss`.
        loader: of its batches.
        objective: what is computed instead.
        own_negatives: whether a row's negative was chosen for it, so that it stands beside those that are shared.

    Raises:
        UnsupportedModelError: the model has no `BPRLoss`, or several.
    """

    def __init__(
        self,
        model: AbstractRecommender,
        loader: DTLNSTrainDataLoader,
        objective: Objective,
        own_negatives: bool = False,
    ) -> None:
        term = bpr_term(model)
        if term is None:
            raise UnsupportedModelError(
                f"{type(model).__name__} holds no BPRLoss, or several, so dtlns_loss cannot take its place: set "
                "dtlns_loss to model"
            )
        self._term, self._name = term, type(model).__name__
        self._loader = loader
        self._objective = objective
        self._own_negatives = own_negatives
        self._batches = 0

    def __call__(self, interaction: Interaction, loss_function: Callable[[Interaction], Any], vectors: Vectors) -> Any:
        """The loss of one batch.

        Args:
            interaction: K blocks of B rows, negatives chosen.
            loss_function: the model's own.
            vectors: gives those of the rows' users, or sequences [B, D], and of all items [n_items, D]; only losses
                over shared negatives ask, when the model has scored its rows.
        """
        self._batches += 1
        n_rows = len(interaction) // self._loader.neg_sample_num
        weights = interaction[WEIGHT][:n_rows] if WEIGHT in interaction else None

        def mean_loss(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
            loss = self._objective.loss
            if isinstance(loss, SharedLoss):
                losses = self._over_shared(loss, interaction, positive, negative, *vectors())
            else:
                columns = negative.view(-1, n_rows).T
                losses = loss.rows(positive[:n_rows], columns, self._weights(interaction, n_rows))
            return losses.mean() if weights is None else (weights * losses).mean()

        with term_replaced(self._term, mean_loss):
            return loss_function(interaction)

    def _weights(self, interaction: Interaction, n_rows: int) -> torch.Tensor | None:
        """1 - P(false negative) of every row's negatives [B, K]; of one mixed from several items, their mean."""
        weigher = self._objective.negative_weights
        if weigher is None:
            return None
        users = interaction[self._loader.uid_field]
        if CHOSEN in interaction:
            found = weigher.of(users[:, None], interaction[CHOSEN]).mean(dim=1)
        else:
            found = weigher.of(users, interaction[self._loader.neg_prefix + self._loader.iid_field])
        return found.view(-1, n_rows).T

    def _over_shared(
        self,
        loss: SharedLoss,
        interaction: Interaction,
        positive: torch.Tensor,
        negative: torch.Tensor,
        row_vectors: torch.Tensor,
        item_vectors: torch.Tensor,
    ) -> torch.Tensor:
        """The loss of each row's targets against negatives that the batch shares, corrected for their draw [B]."""
        objective, loader = self._objective, self._loader
        if objective.shared is None:
            raise ContractError(f"{type(loss).__name__} is a loss over shared negatives, and there are none to share")
        users, items = interaction[loader.uid_field], interaction[loader.iid_field]
        if self._batches == 1:
            products = (row_vectors * item_vectors[items]).sum(dim=1)
            if not torch.allclose(products, positive.reshape(-1), rtol=1e-3, atol=1e-5):
                raise UnsupportedModelError(
                    f"{self._name} gives other scores than the product of two vectors, which a loss over shared "
                    "negatives multiplies: set dtlns_loss to bpr"
                )
        uniform = loader.negatives.batch_uniform(self._batches, loss.draws)
        shared = objective.shared.draw(users.cpu().numpy(), items.cpu().numpy(), uniform)
        drawn, rows, columns, log_weight = (
            torch.as_tensor(values, device=users.device)
            for values in (shared.items, shared.rows, shared.columns, shared.log_weight)
        )
        log_weights = log_weight.repeat(len(users), 1)
        log_weights[rows, columns] = -torch.inf
        if objective.negative_weights is not None:
            log_weights = log_weights + objective.negative_weights.of(users[:, None], drawn).log()
        own = negative.view(-1, 1) if self._own_negatives else None
        against = loss.against(row_vectors @ item_vectors[drawn].T, log_weights, own)
        losses = loss.of(positive.reshape(-1), against)
        if objective.further is None:
            return losses
        further = objective.further.of(users)
        scores = (row_vectors[further.rows] * item_vectors[further.items]).sum(dim=1)
        return losses.index_add(0, further.rows, further.weight * loss.of(scores, against[further.rows]))


def bpr_term(model: nn.Module) -> BPRLoss | None:
    """The `BPRLoss` of a model that others can take the place of; None where it has none, or it is not told which."""
    able = capability(type(model))
    if not able.bpr_term:
        return None
    if able.term is not None:
        term = getattr(model, able.term)
        return term if isinstance(term, BPRLoss) else None
    found = [module for module in model.modules() if isinstance(module, BPRLoss)]
    return found[0] if len(found) == 1 else None


def label_term(model: nn.Module) -> LabelTerm | None:
    """The one cross-entropy of labels that a model holds; None where it holds none, or several."""
    found = [module for module in model.modules() if isinstance(module, LabelTerm)]
    return found[0] if len(found) == 1 else None


@contextmanager
def rows_weighed(term: BPRLoss | LabelTerm, weights: torch.Tensor) -> Iterator[None]:
    """Within the context, a model's ranking term is the mean over rows of weight times loss.

    Args:
        term: the model's own: of positives' and negatives' scores (BPR), or of scores or probabilities and labels.
        weights: of the rows of the batch, float [B].
    """

    def losses_of(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        if isinstance(term, BPRLoss):
            return -torch.log(term.gamma + torch.sigmoid(first - second))
        if isinstance(term, nn.BCELoss):
            return functional.binary_cross_entropy(first, second, reduction="none")
        return functional.binary_cross_entropy_with_logits(first, second, reduction="none")

    def mean_loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        losses = losses_of(first, second)
        if losses.numel() != len(weights):
            raise UnsupportedModelError(
                f"a {type(term).__name__} was given {losses.numel()} scores for {len(weights)} rows, so the rows of "
                "added positives cannot be weighed: set dtlns_relabel_add to False"
            )
        return (weights * losses.reshape(-1)).mean()

    with term_replaced(term, mean_loss):
        yield


@contextmanager
def term_replaced(term: nn.Module, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Within the context, a term of a model's loss is this function: of the scores of positives and negatives (BPR), or
    of all scores and the targets (cross-entropy)."""
    term.forward = loss
    try:
        yield
    finally:
        del term.forward
