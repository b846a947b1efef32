"""Teachers without training loops: EASE and its denoising sister, and item neighbourhoods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from recbole_dtlns.components import ComponentConfig, SharedKey
from recbole_dtlns.data.co_occurrence import Weigh, strongest_items
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.numerics.dense_algebra import positive_definite_inverse
from recbole_dtlns.numerics.factors import column_factors
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.teachers.memory import refuse_beyond_memory, say_once

Dimension = Annotated[
    int,
    SharedKey("teacher_dim"),
    Field(ge=1, le=4096, description="Length of the item vectors where the teacher has none of its own."),
]
Precision = Literal["double", "single"]


class ItemWeightTeacher:
    """A fitted teacher whose scores are history times an item-item weight matrix.

    Args:
        histories: what counts of every user's history, CSR float32 [n_users, n_items].
        weights: float32, dense or CSR [n_items, n_items]; column j scores item j from a history.
        dimension: length of the item vectors.

    Attributes:
        note: what the data decided, for the summary; empty if nothing.
    """

    scores_by_row = True
    note = ""

    def __init__(self, histories: sp.csr_array, weights: np.ndarray | sp.csr_array, dimension: int) -> None:
        self._matrix = histories
        self._weights = weights
        in_doubles = weights if isinstance(weights, sp.csr_array) else weights.astype(np.float64)
        self.item_vectors = column_factors(in_doubles, dimension)

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
        precision: Precision = "double"
        """single: half of the memory; scores are off by less than 1e-4 of the largest, so near ties may change
        places."""
        dimension: Dimension = 64

    config: Config
    version = 2

    def inputs(self) -> dict[str, Any]:
        single = {"precision": "single"} if self.config.precision == "single" else {}
        return {"teacher": "EASE", "reg": self.config.reg, "dimension": self.config.dimension, **single}

    def fit(self, train: TrainInteractions) -> ItemWeightTeacher:
        """Fit in closed form.

        Raises:
            ConfigError: the items x items matrix does not fit the free memory, or rounding would lose the L2 weight.
        """
        weights = _whole_ridge(self, train, self.config.precision, lambda users: np.full(len(users), self.config.reg))
        return ItemWeightTeacher(train.matrix, weights, self.config.dimension)


class EDLAE(Teacher):
    """Denoising by dropout that spares the diagonal (Steck, NeurIPS 2020): EASE with a ridge that popularity raises.

    With P = (X^T X + Lambda)^-1 and Lambda = reg I + p / (1 - p) diag(X^T X), B = I - P / diag(P): what an autoencoder
    learns whose input items are dropped at random with probability p. Popular items are shrunk most. Memory is EASE's.
    """

    class Config(ComponentConfig):
        """Settings of EDLAE."""

        prefix = "teacher_edlae_"

        reg: float = Field(100.0, gt=0)
        """L2 weight of EDLAE, beside that of the dropout."""
        dropout: float = Field(0.5, ge=0, lt=1)
        """Probability with which an item is dropped from the input; at 0 it is EASE."""
        precision: Precision = "double"
        """single: half of the memory, as for EASE."""
        dimension: Dimension = 64

    config: Config
    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"teacher": "EDLAE", **self.config.model_dump()}

    def fit(self, train: TrainInteractions) -> ItemWeightTeacher:
        """Fit in closed form.

        Raises:
            ConfigError: the items x items matrix does not fit the free memory, or rounding would lose the L2 weight.
        """
        odds = self.config.dropout / (1 - self.config.dropout)
        ridge = _whole_ridge(self, train, self.config.precision, lambda users: self.config.reg + odds * users)
        return ItemWeightTeacher(train.matrix, ridge, self.config.dimension)


def _whole_ridge(
    teacher: Teacher, train: TrainInteractions, precision: str, ridge: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Every item's ridge regression on all others, float32 [n_items, n_items] with a diagonal of zeros.

    Args:
        teacher: which, for messages.
        train: the train interactions.
        precision: double or single.
        ridge: what is added to the diagonal of X^T X, from every item's number of users.
    """
    name = type(teacher).__name__
    kind = np.float64 if precision == "double" else np.float32
    needed = 3 * kind(0).itemsize * train.n_items**2
    refuse_beyond_memory(name, train, needed)
    say_once(teacher, name, train, needed)
    gram = (train.matrix.T @ train.matrix).toarray().astype(kind, copy=False)
    users = gram.diagonal().copy()
    added = ridge(users)
    refuse_lost_ridge(name, f"teacher_{name.lower()}_reg", float(added.min()), float(users.max()), kind)
    gram[np.diag_indices_from(gram)] += added
    try:
        weights = positive_definite_inverse(gram)
    except np.linalg.LinAlgError as error:
        raise ConfigError(
            f"{name} cannot be solved: its L2 weight of {added.min():g} is too small beside items of up to "
            f"{users.max():.0f} users; raise dtlns_teacher_{name.lower()}_reg"
        ) from error
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0.0)
    return weights.astype(np.float32, copy=False)


def refuse_lost_ridge(name: str, key: str, ridge: float, users: float, kind: type[np.floating[Any]]) -> None:
    """Refuse an L2 weight that rounding loses: what it should keep from being singular may then be so.

    Args:
        name: of the teacher, for messages.
        key: that holds the weight, without `dtlns_`.
        ridge: the least that is added to the diagonal of X^T X.
        users: the most users of an item: the largest entry of that diagonal.
        kind: of the numbers that are computed with.

    Raises:
        ConfigError: the message says what would be enough.
    """
    least = float(np.finfo(kind).eps) * users
    if ridge < least:
        raise ConfigError(
            f"the L2 weight of {name} is {ridge:g}, which rounding loses beside an item of {users:.0f} users: set "
            f"dtlns_{key} to {least:.1g} or more; values of use lie between 1 and 10,000"
        )


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
    version = 3

    def inputs(self) -> dict[str, Any]:
        return {
            "teacher": "ItemKNN",
            "neighbours": self.config.k,
            "shrink": self.config.shrink,
            "dimension": self.config.dimension,
        }

    def fit(self, train: TrainInteractions) -> ItemWeightTeacher:
        """Fit by sparse products."""
        near = strongest_items(train, cosine(train, self.config.shrink), self.config.k)
        return ItemWeightTeacher(train.matrix, sp.csr_array(near.T), self.config.dimension)


class CoOccurrence(Teacher):
    """Items by the users that they share, both normalised: the linear filter of GF-CF (Shen et al., CIKM 2021).

    Weights are R'^T R' with R' = D_u^-1/2 R D_i^-1/2: a shared user counts the less the more items they have, and
    sharing counts the less the more popular the items are. Each item keeps its k strongest weights, where the paper
    keeps all, so memory grows with items x k and not with pairs of items.
    """

    class Config(ComponentConfig):
        """Settings of CoOccurrence."""

        prefix = "teacher_cooccurrence_"

        k: int = Field(1000, ge=1)
        """Weights kept per item, the strongest."""
        dimension: Dimension = 64

    config: Config
    version = 2

    def inputs(self) -> dict[str, Any]:
        return {"teacher": "CoOccurrence", "neighbours": self.config.k, "dimension": self.config.dimension}

    def fit(self, train: TrainInteractions) -> ItemWeightTeacher:
        """Fit by sparse products."""
        lengths = np.maximum(np.diff(train.matrix.indptr), 1)
        near = strongest_items(train, cosine(train), self.config.k, user_weights=1 / lengths)
        return ItemWeightTeacher(train.matrix, sp.csr_array(near.T), self.config.dimension)


def cosine(train: TrainInteractions, shrink: float = 0.0) -> Weigh:
    """Weighs pairs of items by the users they share, over the roots of the users they have, and `shrink`."""
    return _Cosine(np.sqrt(np.asarray(train.matrix.sum(axis=0), dtype=np.float64)).ravel(), shrink)


@dataclass(frozen=True)
class _Cosine:
    norm: np.ndarray
    shrink: float

    def __call__(self, items: np.ndarray, others: np.ndarray, shared: np.ndarray) -> np.ndarray:
        return shared / (self.norm[items] * self.norm[others] + self.shrink)
