"""EASE and ItemKNN compute their formulas, and refuse what does not fit the memory."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import scipy.sparse as sp
from block_data import block_interactions
from plain_python import knn_scores, random_interactions

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.teachers.closed_form import EASE, ItemKNN, column_factors
from recbole_dtlns.teachers.contract import FittedTeacher


def all_scores(fitted: FittedTeacher, users: np.ndarray) -> np.ndarray:
    """Dense scores; what has no entry in sparse ones is -inf."""
    scores = fitted.scores(users)
    if not isinstance(scores, sp.csr_array):
        return scores
    dense = np.full(scores.shape, -np.inf)
    dense[scores.tocoo().coords] = scores.data
    return dense


@pytest.mark.parametrize("reg", [0.5, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_ease_is_its_formula(seed: int, reg: float) -> None:
    """Scores = X B with B = I - P diag(1 / diag P), P = (X^T X + reg I)^-1, written out with a plain inverse."""
    train = random_interactions(20, 15, 0.3, seed)
    history = train.matrix.toarray().astype(np.float64)
    inverse = np.linalg.inv(history.T @ history + reg * np.eye(train.n_items))
    weights = np.eye(train.n_items) - inverse @ np.diag(1 / np.diag(inverse))
    np.fill_diagonal(weights, 0)
    fitted = EASE(reg=reg, dimension=4).fit(train)
    np.testing.assert_allclose(fitted.scores(np.arange(train.n_users)), history @ weights, atol=1e-6)


@pytest.mark.parametrize(("neighbours", "shrink"), [(1, 0.0), (4, 10.0), (200, 10.0)])
@pytest.mark.parametrize("seed", range(3))
def test_item_knn_is_its_formula(seed: int, neighbours: int, shrink: float) -> None:
    """Sum over the history of the shrunk cosines of each item's k nearest; -inf where none of them is in the history.

    Random binary data is full of equal cosines, so the order among ties is covered too.
    """
    train = random_interactions(20, 15, 0.15, seed)
    found = all_scores(ItemKNN(k=neighbours, shrink=shrink, dimension=4).fit(train), np.arange(train.n_users))
    np.testing.assert_allclose(found, knn_scores(train, neighbours, shrink), rtol=1e-6)


@pytest.mark.parametrize("teacher", [EASE(reg=10, dimension=8), ItemKNN(k=5, dimension=8)], ids=["EASE", "ItemKNN"])
def test_scores_do_not_depend_on_the_batch(teacher: EASE | ItemKNN) -> None:
    """All users at once or one by one: the same scores."""
    train = random_interactions(12, 15, 0.3, seed=4)
    fitted = teacher.fit(train)
    one_by_one = np.vstack([all_scores(fitted, np.array([user])) for user in range(train.n_users)])
    np.testing.assert_allclose(all_scores(fitted, np.arange(train.n_users)), one_by_one, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize(("shape", "dimension"), [((9, 7), 7), ((40, 30), 5), ((30, 40), 5), ((40, 40), 40)])
def test_item_vectors_are_the_leading_right_factors(shape: tuple[int, int], dimension: int, form) -> None:
    """V diag(s) of the truncated SVD: inner products of item vectors are the best rank-d copy of W^T W."""
    weights = np.random.default_rng(0).standard_normal(shape)
    _, values, right = np.linalg.svd(weights, full_matrices=False)
    expected = (right.T[:, :dimension] * values[:dimension] ** 2) @ right[:dimension]
    vectors = column_factors(form(weights), dimension)
    assert vectors.shape == (shape[1], dimension)
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-4 * values[0] ** 2)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), values[:dimension], rtol=1e-4)  # largest first
    np.testing.assert_array_equal(column_factors(form(weights), dimension), vectors)


def test_item_vectors_have_the_dimension_asked_for() -> None:
    """A data set with fewer items than dimensions fills up with zero columns."""
    vectors = EASE(reg=1.0, dimension=64).fit(block_interactions(blocks=1, users=4, items=5, missing=1)).item_vectors
    assert vectors.shape == (5, 64)
    assert vectors.any(axis=0).sum() <= 5


@pytest.mark.parametrize("teacher", [EASE(reg=10, dimension=32), ItemKNN(dimension=32)], ids=["EASE", "ItemKNN"])
@pytest.mark.parametrize("missing", [0, 3])
def test_item_vectors_are_the_same_twice(teacher: EASE | ItemKNN, missing: int) -> None:
    """Also on equal blocks, whose equal singular values leave the solver free to choose."""
    train = block_interactions(blocks=12, missing=missing)
    np.testing.assert_array_equal(teacher.fit(train).item_vectors, teacher.fit(train).item_vectors)


def test_ease_refuses_what_does_not_fit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any work, with the size and what to use instead; a killed process would say nothing."""
    train = block_interactions()
    needed = 3 * 8 * train.n_items**2
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed - 1))
    with pytest.raises(ConfigError, match=r"EASE needs about \d+ GiB for 80 items.*dtlns_teacher: ItemKNN"):
        EASE(reg=10, dimension=8).fit(train)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed))
    assert EASE(reg=10, dimension=8).fit(train).item_vectors.shape == (80, 8)
