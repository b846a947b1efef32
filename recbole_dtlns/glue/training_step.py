"""One training step: score the candidates, choose the negatives, weigh the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.model.layers import SparseDropout
from recbole.utils import InputType
from torch import nn

from recbole_dtlns.glue.dataloader import CANDIDATES, WEIGHT, DTLNSTrainDataLoader
from recbole_dtlns.negatives.selection import Choice, NegativeSelector

Losses = Any  # a scalar tensor, or a tuple of them, as RecBole's models return
LossFunction = Callable[[Interaction], Losses]


class TrainingStep:
    """Wraps a model's loss: the batch's negatives are chosen with the model as it is now, then the loss is taken.

    Args:
        model: the RecBole model.
        loader: the loader whose batches are coming; it knows their layout.
        selector: chooses negatives, or None to keep the loader's draws.
        loss_function: the model's loss, as RecBole's trainer would call it.
    """

    def __init__(
        self,
        model: AbstractRecommender,
        loader: DTLNSTrainDataLoader,
        selector: NegativeSelector | None,
        loss_function: LossFunction,
    ) -> None:
        self.model = model
        self.loader = loader
        self.selector = selector
        self.loss_function = loss_function

    def __call__(self, interaction: Interaction) -> Losses:
        """The loss of one batch, as the loader made it."""
        candidates = interaction[CANDIDATES]
        interaction.drop(CANDIDATES)
        with propagation_shared(self.model):
            if self.selector is not None:
                self._choose_negatives(self.selector, interaction, candidates)
            return self._weighted_loss(interaction)

    def _choose_negatives(self, selector: NegativeSelector, interaction: Interaction, candidates: torch.Tensor) -> None:
        loader = self.loader
        users, items = interaction[loader.uid_field], interaction[loader.iid_field]
        pointwise = loader.dl_format == InputType.POINTWISE
        if pointwise:  # rows are the positives, then k blocks of negatives for them
            n_positives = len(users) // loader.times
            positives = items[:n_positives].repeat(loader.times - 1)
            users, candidates = users[n_positives:], candidates[n_positives:]
        else:
            positives = items
        column = selector.select(self._choice(selector, users, positives, candidates))
        chosen = candidates.gather(1, column[:, None]).squeeze(1)
        if pointwise:
            features = self._item_features(torch.cat([items[:n_positives], chosen]))
        else:
            features = self._item_features(chosen)
            features.add_prefix(loader.neg_prefix)
        interaction.update(features)

    def _choice(
        self, selector: NegativeSelector, users: torch.Tensor, positives: torch.Tensor, candidates: torch.Tensor
    ) -> Choice:
        if not selector.reads_scores:
            return Choice(positives, candidates, torch.zeros(candidates.shape, device=candidates.device))
        if not selector.reads_positive_scores:
            return Choice(positives, candidates, self._score(users, candidates))
        scores = self._score(users, torch.cat([positives[:, None], candidates], dim=1))
        return Choice(positives, candidates, scores[:, 1:], scores[:, 0])

    @torch.no_grad()
    def _score(self, users: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """The model's scores [B, n] of its candidates, without dropout beyond the shared propagation."""
        n = candidates.shape[1]
        batch = self._item_features(candidates.reshape(-1))
        batch.update(Interaction({self.loader.uid_field: users.repeat_interleave(n)}))
        with _deterministic_layers(self.model):
            scores = self.model.predict(batch)
        return scores.reshape(-1, n).detach()

    def _item_features(self, items: torch.Tensor) -> Interaction:
        """The item column, and the item's features where the data set loads some."""
        ids = Interaction({self.loader.iid_field: items})
        if self.loader._dataset.item_feat is None:
            return ids
        return self.loader._dataset.join(ids.cpu()).to(items.device)

    def _weighted_loss(self, interaction: Interaction) -> Losses:
        """The mean over rows of weight times loss.

        RecBole's losses are means over their batch, so rows are grouped by weight: a group of n of N rows
        contributes weight * n / N times its own loss. Exact for every loss that is a mean of row losses; a term
        that couples rows (contrastive ones) is taken within each group.
        """
        if WEIGHT not in interaction:
            return self.loss_function(interaction)
        weights = interaction[WEIGHT]
        interaction.drop(WEIGHT)
        total: Losses = None
        for weight in weights.unique().tolist():
            rows = weights == weight
            group = Interaction({field: values[rows] for field, values in interaction.interaction.items()})
            share = weight * int(rows.sum()) / len(weights)
            total = _add(total, self.loss_function(group), share)
        return total


def _add(total: Losses, losses: Losses, share: float) -> Losses:
    if isinstance(losses, tuple):
        parts = [share * loss for loss in losses]
        return tuple(parts) if total is None else tuple(a + b for a, b in zip(total, parts, strict=True))
    return share * losses if total is None else total + share * losses


@contextmanager
def propagation_shared(model: nn.Module) -> Iterator[None]:
    """Within the context, a graph model propagates its embeddings once, however often it is asked.

    A `forward` without ids among its arguments is a propagation: its result depends on the parameters alone. It is
    computed in training mode with gradients, so that the loss can use what scoring used.
    """
    original = model.forward
    results: dict[tuple[int, ...], tuple[Any, Any]] = {}  # with the arguments, whose ids may not be given to others

    def forward(*arguments: Any, **named: Any) -> Any:
        if named or any(_holds_ids(argument) for argument in arguments):
            return original(*arguments, **named)
        key = tuple(id(argument) for argument in arguments)
        if key not in results:
            with torch.enable_grad(), _training_layers(model):
                results[key] = arguments, original(*arguments)
        return results[key][1]

    model.forward = forward
    try:
        yield
    finally:
        del model.forward


def _holds_ids(argument: Any) -> bool:
    return not isinstance(argument, torch.Tensor) or not argument.dtype.is_floating_point


_STOCHASTIC = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm, SparseDropout)


@contextmanager
def _deterministic_layers(model: nn.Module) -> Iterator[None]:
    """Switch dropout and batch norm to evaluation without calling `model.eval()`, which some models react to."""
    with _layers_in_mode(model, training=False):
        yield


@contextmanager
def _training_layers(model: nn.Module) -> Iterator[None]:
    with _layers_in_mode(model, training=True):
        yield


@contextmanager
def _layers_in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    layers = [layer for layer in model.modules() if isinstance(layer, _STOCHASTIC)]
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.training = training
    try:
        yield
    finally:
        for layer, mode in zip(layers, before, strict=True):
            layer.training = mode
