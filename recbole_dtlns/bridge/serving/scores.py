"""Scores of trained models: products of vectors where that is what they are, and otherwise what the model says."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender, ContextRecommender
from recbole.utils import FeatureSource

from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.bridge.models.propagation import vectors
from recbole_dtlns.bridge.serving.sequences import Sequences
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import UnsupportedModelError
from recbole_dtlns.negatives.products import candidate_scores

_READ = ("token", "float", "token_seq", "float_seq")  # types of columns
_CHECKED = 64  # pairs whose product is compared with the model's own score


class ModelScores:
    """What any model answers, asked as RecBole's evaluation asks.

    Args:
        model: in evaluation mode.
        dataset: of its ids and features.
        pairs_at_once: for models that score pair by pair.
        sequences: of a sequential model's users; None for others.
    """

    def __init__(
        self, model: AbstractRecommender, dataset: Dataset, pairs_at_once: int, sequences: Sequences | None = None
    ) -> None:
        self._sequences = sequences
        self._model, self._dataset, self._pairs_at_once = model, dataset, pairs_at_once
        self._of_rows = [field for field in _read_by(model) if dataset.field2source[field] == FeatureSource.INTERACTION]
        # Several numbers per score are in use within some models, and hundreds within others.
        self.scores_at_once = 2**15 if capability(type(model)).heavy_scores else 2**21
        self._ranks_all = type(model).full_sort_predict is not AbstractRecommender.full_sort_predict
        self.n_items = dataset.item_num

    def about(self, sequences: Sequences) -> ModelScores:
        """The same model, asked about other sequences."""
        return ModelScores(self._model, self._dataset, self._pairs_at_once, sequences)

    @torch.no_grad()
    def block(self, users: np.ndarray, items: np.ndarray | None) -> torch.Tensor:
        """Scores [B, n] of some items (None: of all ids) for users [B]."""
        scores = self._of_all_items(users) if self._ranks_all else None
        if scores is not None:
            return scores if items is None else scores[:, torch.as_tensor(items, device=scores.device)]
        wanted = np.arange(self.n_items) if items is None else items
        return self.pairs(np.repeat(users, len(wanted)), np.tile(wanted, len(users))).view(len(users), -1)

    def _of_all_items(self, users: np.ndarray) -> torch.Tensor | None:
        asked = self._rows(users)
        try:
            with quiet_recbole():
                return self._model.full_sort_predict(asked.to(self._model.device)).view(-1, self.n_items)
        except NotImplementedError:  # RecBole's sign that a model only scores pair by pair
            self._ranks_all = False
            return None

    def _rows(self, users: np.ndarray) -> Interaction:
        """What the model reads of users [B].

        Raises:
            UnsupportedModelError: it reads features of rows, too, such as the hour, and a question has none.
        """
        if self._of_rows:
            raise UnsupportedModelError(
                f"{type(self._model).__name__} reads {', '.join(self._of_rows)} of its rows, and what is asked about "
                "has no row: train it without these columns (load_col)"
            )
        if self._sequences is not None:
            return self._sequences.rows(users, self._dataset)
        return self._dataset.join(Interaction({self._dataset.uid_field: torch.as_tensor(users)}))

    @torch.no_grad()
    def pairs(self, users: np.ndarray, items: np.ndarray) -> torch.Tensor:
        """Scores [n] of pairs."""
        found = []
        for start in range(0, len(users), self._pairs_at_once):
            part = slice(start, start + self._pairs_at_once)
            asked = self._rows(users[part])
            asked.update(self._dataset.join(Interaction({self._dataset.iid_field: torch.as_tensor(items[part])})))
            with quiet_recbole():
                found.append(self._model.predict(asked.to(self._model.device)).view(-1))
        return torch.cat(found) if found else torch.zeros(0)


def _read_by(model: AbstractRecommender) -> list[str]:
    """The columns that a context-aware model reads; none of another's."""
    if not isinstance(model, ContextRecommender):
        return []
    return [field for kind in _READ for field in getattr(model, f"{kind}_field_names")]


class ProductScores:
    """Products of the vectors of users and items.

    Attributes:
        users, items: of all ids, float32 [n_users, d] and [n_items, d].
    """

    scores_at_once = 2**24

    def __init__(self, users: torch.Tensor, items: torch.Tensor) -> None:
        self.users, self.items = users, items
        self.n_items = len(items)

    def block(self, users: np.ndarray, items: np.ndarray | None) -> torch.Tensor:
        """Scores [B, n] of some items (None: of all ids) for users [B]."""
        table = self.items if items is None else self.items[torch.as_tensor(items, device=self.items.device)]
        return self.users[torch.as_tensor(users, device=self.users.device)] @ table.T

    def pairs(self, users: np.ndarray, items: np.ndarray) -> torch.Tensor:
        """Scores [n] of pairs."""
        mine = self.users[torch.as_tensor(users, device=self.users.device)]
        return candidate_scores(mine, self.items, torch.as_tensor(items, device=self.items.device)[:, None])[:, 0]


@torch.no_grad()
def product_scores(model: Any, asked: ModelScores) -> ProductScores | None:
    """A model's scores as products of its final vectors; None where they are none.

    A graph model propagates once. Somebody's model may inherit from a built-in one and score otherwise, so some pairs
    are compared with what the model says.
    """
    layers = capability(type(model)).layers
    if layers is None:
        return None
    users, items = vectors(model, layers)
    found = ProductScores(users.detach().contiguous(), items.detach().contiguous())
    random = np.random.default_rng(0)
    pairs = random.integers(1, len(users), _CHECKED), random.integers(1, len(items), _CHECKED)
    same = torch.allclose(found.pairs(*pairs), asked.pairs(*pairs), rtol=1e-3, atol=1e-5)
    return found if same else None
