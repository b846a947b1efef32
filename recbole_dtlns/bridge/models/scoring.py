"""Scores of candidates: by the model as it is, and as it was after each of the last epochs."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import nn

from recbole_dtlns.bridge.data.dataloader import DTLNSTrainDataLoader, EpochDataLoader
from recbole_dtlns.bridge.models.capability import Layers
from recbole_dtlns.bridge.models.encoded_sequences import EncodedSequences
from recbole_dtlns.bridge.models.item_features import ItemFeatures
from recbole_dtlns.bridge.models.kinds import capability, kind_of
from recbole_dtlns.bridge.models.propagation import deterministic_layers, propagation_shared, vectors
from recbole_dtlns.bridge.run_log import warn_once
from recbole_dtlns.negatives.products import candidate_scores


class Scorer:
    """Asks a model for its scores of (user, item) pairs.

    Where a score is the product of two vectors, the vectors are multiplied, instead of repeating the user for every
    candidate as `predict` needs it. That both agree is checked at the first batch; if they do not (somebody's model
    inherits from a built-in one and scores otherwise), `predict` is used, and the run's log says so.

    Args:
        model: the RecBole model.
        loader: knows the fields of users and items, and the items' features.
        sequences: encodes those of a sequential model for the step; None where no loss follows, and for others.
    """

    def __init__(
        self, model: AbstractRecommender, loader: EpochDataLoader, sequences: EncodedSequences | None = None
    ) -> None:
        self.model = model
        self._loader = loader
        self._sequences = sequences
        self._ordered = kind_of(type(model)).ordered
        able = capability(type(model))
        self._layers, self._heavy = able.layers, able.heavy_scores
        self._features: ItemFeatures | None = None
        self._checked = False

    @torch.no_grad()
    def scores(self, rows: Interaction, items: torch.Tensor) -> torch.Tensor:
        """The model's scores of items [B, n] for the users, or sequences, of rows, without dropout beyond the shared
        propagation."""
        if self._ordered:
            return self._of_sequences(rows, items)
        users = rows[self._loader.uid_field]
        if self._layers is None:
            return self._predicted(rows, items)
        if not self._checked:
            self._checked = True
            expected = self._predicted(rows, items)
            if not self._multiplies(self._layers, users, items, expected):
                self._layers = None
                name = type(self.model).__name__
                warn_once(
                    f"{name}'s predict gives other scores than the product of its two vectors: candidates are scored "
                    f"by predict, which is slower. If that is not meant, mend predict or forward of {name}"
                )
            return expected
        return self._multiplied(self._layers, users, items)

    @torch.no_grad()
    def multiplies(self, users: torch.Tensor, items: torch.Tensor) -> bool:
        """Whether the model's scores of items [B, n] for users [B] are products of its vectors."""
        if self._layers is None:
            return False
        rows = Interaction({self._loader.uid_field: users})
        return self._multiplies(self._layers, users, items, self._predicted(rows, items))

    def _multiplies(self, layers: Layers, users: torch.Tensor, items: torch.Tensor, expected: torch.Tensor) -> bool:
        return torch.allclose(self._multiplied(layers, users, items), expected, rtol=1e-3, atol=1e-5)

    def _multiplied(self, layers: Layers, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        user_table, item_table = vectors(self.model, layers)
        return candidate_scores(user_table[users], item_table, items)

    def _predicted(self, rows: Interaction, items: torch.Tensor) -> torch.Tensor:
        if self._heavy:  # as many scores at once as the loss has rows
            return torch.cat([self._of_pairs(rows, column) for column in items.split(1, dim=1)], dim=1)
        return self._of_pairs(rows, items)

    def _of_pairs(self, rows: Interaction, items: torch.Tensor) -> torch.Tensor:
        """By `predict`, all pairs at once: the rows' users, with what else stands in the rows, and every item."""
        n = items.shape[1]
        batch = Interaction({field: values.repeat_interleave(n, dim=0) for field, values in rows.interaction.items()})
        batch.update(self.item_features(items.reshape(-1)))
        with deterministic_layers(self.model):
            scores = self.model.predict(batch)
        return scores.reshape(-1, n).detach()

    def _of_sequences(self, rows: Interaction, items: torch.Tensor) -> torch.Tensor:
        """By `predict`, an item of every row at a time: the sequences are the same tensors, and encoded once."""
        with ExitStack() as once:
            sequences = self._sequences
            if sequences is None:
                sequences = EncodedSequences(self.model, with_gradient=False)
                once.enter_context(sequences.of_a_batch())
            once.enter_context(sequences.scoring())
            once.enter_context(deterministic_layers(self.model))
            columns = []
            for column in items.unbind(dim=1):
                asked = Interaction(dict(rows.interaction))
                asked.update(self.item_features(column))
                columns.append(self.model.predict(asked).reshape(-1))
        return torch.stack(columns, dim=1).detach()

    def item_features(self, items: torch.Tensor) -> Interaction:
        """The item column, and the item's features where the data set loads some, joined where the ids are."""
        if self._features is None or self._features.device != items.device:
            self._features = ItemFeatures(self._loader._dataset, items.device)
        return self._features.of(items)


class PastModels:
    """The model as it was after each of the last epochs. What never changes (the graph) is shared, not copied.

    Args:
        model: the model in training.
        loader: of its batches.
        epochs: how many are kept.
    """

    def __init__(self, model: AbstractRecommender, loader: DTLNSTrainDataLoader, epochs: int) -> None:
        self._model = model
        self._loader = loader
        self._kept: deque[tuple[Scorer, ExitStack]] = deque()
        self._epochs = epochs

    def remember(self) -> None:
        """Keep the model as it is now; the oldest is dropped."""
        self._keep(self._model.state_dict())

    def _keep(self, weights: dict[str, torch.Tensor]) -> None:
        constant = [
            tensor
            for module in self._model.modules()
            for name, value in vars(module).items()
            if not name.startswith("_")  # where torch has parameters, buffers and modules
            for tensor in _tensors(value)
        ]
        past = copy.deepcopy(self._model, {id(value): value for value in constant})
        past.load_state_dict(weights)
        past.eval()
        for cache in ("restore_user_e", "restore_item_e"):
            if hasattr(past, cache):
                setattr(past, cache, None)
        once = ExitStack()
        once.enter_context(propagation_shared(past, with_gradient=False))
        self._kept.append((Scorer(past, self._loader), once))
        if len(self._kept) > self._epochs:
            self._kept.popleft()[1].close()

    def scores(self, rows: Interaction, items: torch.Tensor) -> torch.Tensor:
        """Scores [epochs kept, B, n] of items [B, n] for the users, or sequences, of rows, the oldest epoch first."""
        if not self._kept:
            return torch.zeros(0, *items.shape, device=items.device)
        return torch.stack([scorer.scores(rows, items) for scorer, _ in self._kept])

    def state(self) -> list[dict[str, Any]]:
        """The weights of each kept epoch, for checkpoints."""
        return [dict(scorer.model.state_dict()) for scorer, _ in self._kept]

    def load(self, state: Sequence[dict[str, Any]]) -> None:
        """Continue from a checkpoint."""
        for weights in state:
            self._keep(weights)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors that attributes hold, also within lists and dictionaries; parameters are none of them."""
    if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
        yield value
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _tensors(entry)
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _tensors(entry)
