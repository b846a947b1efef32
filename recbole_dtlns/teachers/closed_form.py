"""Teachers without training loops: EASE and ItemKNN."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import psutil
import scipy.sparse as sp
from pydantic import Field
from scipy.sparse.linalg import svds

from recbole_dtlns.components import ComponentConfig, SharedKey
from recbole_dtlns.data.co_occurrence import strongest_items
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.numerics.dense_algebra import multiplied_in_order, positive_definite_inverse
from recbole_dtlns.teachers.contract import Teacher

Dimension = Annotated[
    int,
    SharedKey("teacher_dim"),
    Field(ge=1, description="Length of the item vectors where the teacher has none of its own."),
]


class ItemWeightTeacher:
    """A fitted teacher whose scores are history times an item-item weight matrix.

    Args:
        train: the train interactions.
        weights: float32, dense or CSR [n_items, n_items]; column j scores item j from a history.
        dimension: length of the item vectors.
    """

    def __init__(self, train: TrainInteractions, weights: np.ndarray | sp.csr_array, dimension: int) -> None:
        self._matrix = train.narrow
        self._weights = weights
        self.item_vectors = column_factors(weights.astype(np.float64), dimension)

    def scores(self, users: np.ndarray) -> np.ndarray | sp.csr_array:
        """Scores [B, n_items]; CSR for sparse weights, where an item that no history item points at has no entry."""
        return self._matrix[users] @ self._weights


class EASE(Teacher):
    """Embarrassingly shallow autoencoder (Steck, WWW 2019): B = I - P / diag(P), P = (X^T X + reg I)^-1.

    Needs a dense matrix of items x items, three times; it refuses when that exceeds the free memory.
    """

    class Config(ComponentConfig):
        """Settings of EASE."""

        prefix = "teacher_ease_"

        reg: float = Field(100.0, gt=0)
        """L2 weight of EASE."""
        dimension: Dimension = 64

    config: Config
    version = 2

    def inputs(self) -> dict[str, Any]:
        return {"teacher": "EASE", "reg": self.config.reg, "dimension": self.config.dimension}

    def fit(self, train: TrainInteractions) -> ItemWeightTeacher:
        """Fit in closed form.

        Raises:
            ConfigError: the items x items matrix does not fit the free memory.
        """
        needed = 3 * 8 * train.n_items**2
        if needed > psutil.virtual_memory().available:
            raise ConfigError(
                f"EASE needs about {needed / 2**30:.0f} GiB for {train.n_items} items, more than is free; "
                "set dtlns_teacher: ItemKNN (sparse) or the name of an embedding model such as BPR"
            )
        gram = (train.matrix.T @ train.matrix).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += self.config.reg
        weights = positive_definite_inverse(gram)
        weights /= -np.diag(weights)
        np.fill_diagonal(weights, 0.0)
        return ItemWeightTeacher(train, weights.astype(np.float32), self.config.dimension)


class ItemKNN(Teacher):
    """Item neighbourhoods by shrunk cosine similarity, each item's k nearest (Deshpande & Karypis, 2004)."""

    class Config(ComponentConfig):
        """Settings of ItemKNN."""

        prefix = "teacher_knn_"

        k: int = Field(200, ge=1)
        """Neighbours of ItemKNN."""
        shrink: float = Field(10.0, ge=0)
        """Shrinkage of ItemKNN's cosine: added to its denominator, it damps similarities that rest on few users."""
        dimension: Dimension = 64

    config: Config
    version = 2

    def inputs(self) -> dict[str, Any]:
        return {
            "teacher": "ItemKNN",
            "neighbours": self.config.k,
            "shrink": self.config.shrink,
            "dimension": self.config.dimension,
        }

    def fit(self, train: TrainInteractions) -> ItemWeightTeacher:
        """Fit by sparse products."""
        norm = np.sqrt(np.asarray(train.matrix.sum(axis=0), dtype=np.float64)).ravel()

        def cosine(items: np.ndarray, others: np.ndarray, shared: np.ndarray) -> np.ndarray:
            return shared / (norm[items] * norm[others] + self.config.shrink)

        near = strongest_items(train, cosine, self.config.k)
        return ItemWeightTeacher(train, sp.csr_array(near.T), self.config.dimension)


def column_factors(weights: np.ndarray | sp.csr_array, dimension: int) -> np.ndarray:
    """Item vectors from scores: the leading right singular vectors of a score matrix, scaled by their values.

    Two items get close vectors when the same evidence scores them alike.

    Args:
        weights: dense or sparse [m, n_items]; column j holds what scores item j.
        dimension: length of the vectors.

    Returns:
        float32 [n_items, dimension], columns beyond the rank zero; start vector and signs fixed.
    """
    rows, n_items = weights.shape
    vectors = np.zeros((n_items, dimension), dtype=np.float32)
    wanted = min(dimension, rows, n_items)
    with multiplied_in_order(weights) as factors:
        if min(rows, n_items) <= max(wanted + 1, 16):
            dense = np.asarray(weights.toarray() if isinstance(weights, sp.sparray) else weights)
            _, values, right = np.linalg.svd(dense, full_matrices=False)
            values, right = values[:wanted], right[:wanted]
        else:
            start = np.random.default_rng(0).standard_normal(min(rows, n_items))
            _, values, right = svds(factors, k=wanted, v0=start, tol=1e-6)
            order = np.argsort(-values, kind="stable")
            values, right = values[order], right[order]
    peaks = right[np.arange(wanted), np.abs(right).argmax(axis=1)]
    vectors[:, :wanted] = (right * (values * np.where(peaks < 0, -1.0, 1.0))[:, None]).T
    return vectors
