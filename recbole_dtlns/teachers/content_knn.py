"""A teacher that knows what items say: nearest to what the user has, whoever else has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.numerics.dense_algebra import one_thread
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.teachers.contract import Teacher

_ITEMS_AT_ONCE = 4096


class ContentKNN(Teacher):
    """Cosine of an item's text vector to the mean of the user's, each of length 1 (Pazzani & Billsus, 2007).

    Train pairs say what a user has, and nothing of who else has an item, so an item with few pairs is ranked as well as
    a popular one. An item without text has no score, nor has any item for a user whose items say nothing.
    """

    version = 1
    reads_text = True

    def inputs(self) -> dict[str, Any]:
        return {"teacher": "ContentKNN"}

    def fit(self, train: TrainInteractions) -> _NearestByContent:
        """Nothing is learnt: the histories are averaged.

        Raises:
            ConfigError: the items have no text vectors.
        """
        return _NearestByContent(train)


class _NearestByContent:
    """Cosines to mean histories."""

    def __init__(self, train: TrainInteractions) -> None:
        self.item_vectors = train.text_vectors
        self._matrix: sp.csr_array = train.matrix
        self._items = unit_rows(self.item_vectors)
        self._silent = ~self._items.any(axis=1)

    @one_thread
    def scores(self, users: np.ndarray) -> np.ndarray:
        """Cosines [B, n_items]; -inf where item or history says nothing."""
        histories = unit_rows(self._matrix[users] @ self._items)
        found = np.empty((len(users), len(self._items)), dtype=np.float32)
        for start in range(0, len(self._items), _ITEMS_AT_ONCE):
            items = slice(start, start + _ITEMS_AT_ONCE)
            np.matmul(histories, self._items[items].T, out=found[:, items])
        found[:, self._silent] = -np.inf
        found[~histories.any(axis=1)] = -np.inf
        return found
