"""Teachers without training loops compute their formulas, and dense ones refuse what does not fit the memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import scipy.sparse as sp
from block_data import block_interactions
from plain_python import knn_scores, random_interactions

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.numerics import factors
from recbole_dtlns.numerics.factors import column_factors, unit_rows
from recbole_dtlns.teachers.closed_form import EASE, EDLAE, CoOccurrence, ItemKNN
from recbole_dtlns.teachers.contract import FittedTeacher
from recbole_dtlns.teachers.neighbour_ridge import NeighbourRidge
from recbole_dtlns.teachers.spectral import GFCF


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
    assert (vectors.max(axis=0) == np.abs(vectors).max(axis=0)).all(), "signs are fixed"


@pytest.mark.parametrize("iterated", [False, True])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_item_vectors_are_zero_beyond_the_rank(
    rank: int, form, iterated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a matrix of zeros, as of items that share no user, and with columns that hold nothing."""
    random = np.random.default_rng(0)
    weights = random.standard_normal((40, rank)) @ random.standard_normal((rank, 50))
    weights[:, ::3] = 0
    monkeypatch.setattr(factors, "_EXACT_ITEMS", 0 if iterated else 100)
    vectors = column_factors(form(weights), 8)
    assert vectors.shape == (50, 8) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors @ vectors.T, weights.T @ weights, atol=1e-4)
    np.testing.assert_allclose(vectors[:, rank:], 0, atol=1e-5)


def test_a_matrix_of_fewer_rows_than_dimensions_has_vectors_of_the_length_asked_for() -> None:
    weights = np.random.default_rng(0).standard_normal((5, 30))
    vectors = column_factors(weights, 16)
    assert vectors.shape == (30, 16) and not vectors[:, 5:].any()
    np.testing.assert_allclose(vectors @ vectors.T, weights.T @ weights, atol=1e-4)


def test_rows_of_zeros_stay_and_others_have_length_1() -> None:
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize("teacher", [NeighbourRidge, EASE, ItemKNN, CoOccurrence])
def test_many_items_that_share_no_user_have_vectors_of_zeros(teacher: Any) -> None:
    tokens = np.array([f"t{n}" for n in range(40)])
    assert not teacher(dimension=4).fit(TrainInteractions.from_tokens(tokens, tokens)).item_vectors.any()


def test_vectors_of_many_items_are_iterated_and_hold_nearly_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """On weights whose values lie close together, where a fixed number of steps finds least."""
    train = random_interactions(400, 300, 0.05, seed=1)
    weights = NeighbourRidge(k=20)._weights(train, 50.0, lambda items: None)
    exact = column_factors(weights, 16)
    monkeypatch.setattr(factors, "_EXACT_ITEMS", 299)
    iterated = column_factors(weights, 16)
    assert iterated.tobytes() != exact.tobytes()
    assert iterated.tobytes() == column_factors(weights, 16).tobytes()
    lengths = np.linalg.norm(iterated, axis=0)
    assert 0.95 < (lengths**2).sum() / (exact**2).sum() <= 1
    through = weights.toarray().astype(np.float64) @ (iterated / lengths)  # the lengths are what the vectors hold of it
    np.testing.assert_allclose(np.linalg.norm(through, axis=0), lengths, rtol=1e-5)


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


@pytest.mark.parametrize(
    ("teacher", "copies"),
    [(EASE(dimension=8), 24), (EASE(dimension=8, precision="single"), 12), (EDLAE(dimension=8), 24)],
    ids=["EASE", "EASE, single", "EDLAE"],
)
def test_what_does_not_fit_the_memory_is_refused(
    teacher: EASE | EDLAE, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any work, with the size and what to use instead; a killed process would say nothing."""
    train = block_interactions()
    needed = copies * train.n_items**2
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed - 1))
    message = rf"{type(teacher).__name__} needs about \S+ GiB for 80 items.*dtlns_teacher: NeighbourRidge"
    with pytest.raises(ConfigError, match=message):
        teacher.fit(train)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed))
    assert teacher.fit(train).item_vectors.shape == (80, 8)


@pytest.mark.parametrize(("reg", "dropout"), [(0.5, 0.2), (100.0, 0.5), (10.0, 0.0)])
@pytest.mark.parametrize("seed", range(3))
def test_edlae_is_its_formula(seed: int, reg: float, dropout: float) -> None:
    """EASE with p / (1 - p) times an item's number of users added to its ridge; without dropout, EASE."""
    train = random_interactions(20, 15, 0.3, seed)
    history = train.matrix.toarray().astype(np.float64)
    gram = history.T @ history
    inverse = np.linalg.inv(gram + np.diag(reg + dropout / (1 - dropout) * np.diag(gram)))
    weights = np.eye(train.n_items) - inverse @ np.diag(1 / np.diag(inverse))
    np.fill_diagonal(weights, 0)
    fitted = EDLAE(reg=reg, dropout=dropout, dimension=4).fit(train)
    np.testing.assert_allclose(fitted.scores(np.arange(train.n_users)), history @ weights, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reg", [10.0, 100.0])
def test_single_precision_is_off_by_little(seed: int, reg: float) -> None:
    """A ten-thousandth of the largest score at most, on items with hundreds of users, which are the hardest."""
    train = random_interactions(2000, 300, 0.2, seed)
    users = np.arange(train.n_users)
    for teacher in (EASE, EDLAE):
        double, single = (teacher(reg=reg, precision=kind).fit(train).scores(users) for kind in ("double", "single"))
        assert 0 < np.abs(double - single).max() < 1e-4 * np.abs(double).max()


@pytest.mark.parametrize("k", [3, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_co_occurrence_is_its_formula(seed: int, k: int) -> None:
    """R'^T R' without its diagonal, R' = D_u^-1/2 R D_i^-1/2; column j keeps its k strongest."""
    train = random_interactions(200, 15, 0.3, seed)
    history = train.matrix.toarray().astype(np.float64)
    normalised = history / np.sqrt(history.sum(axis=1, keepdims=True)) / np.sqrt(history.sum(axis=0))
    weights = normalised.T @ normalised
    np.fill_diagonal(weights, 0)
    if k < train.n_items:
        ordered = np.sort(weights, axis=0)
        assert (ordered[-k] - ordered[-k - 1]).min() > 1e-6, "no ties at the k-th"
        weights[weights < ordered[-k] - 1e-7] = 0
    found = all_scores(CoOccurrence(k=k, dimension=4).fit(train), np.arange(train.n_users))
    expected = history @ weights
    np.testing.assert_allclose(np.where(found == -np.inf, 0, found), expected, rtol=1e-5)


def test_teachers_say_what_they_begin(caplog: pytest.LogCaptureFixture) -> None:
    """Those that may take minutes without a bar."""
    with caplog.at_level("INFO", "recbole_dtlns"):
        EASE(dimension=8).fit(block_interactions())
    assert "fitting EASE on 80 items, about 0.0 GiB" in caplog.text


def test_a_teacher_that_is_fitted_again_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    """Rehearsals fit it again, on nearly the same pairs."""
    for teacher in (GFCF(), EASE(dimension=8)):
        caplog.clear()
        with caplog.at_level("INFO", "recbole_dtlns"):
            teacher.fit(block_interactions())
            teacher.fit(block_interactions())
        assert caplog.text.count("fitting") == 1


@pytest.mark.parametrize("teacher", [EASE, EDLAE, NeighbourRidge])
def test_an_l2_weight_that_rounding_loses_is_refused(teacher: Any) -> None:
    off = {"dropout": 0.0} if teacher is EDLAE else {}
    with pytest.raises(ConfigError, match=r"1e-300, which rounding loses .*: set dtlns_teacher_\w+_reg to \S+ or more"):
        teacher(reg=1e-300, **off).fit(block_interactions())


def test_what_rounding_loses_depends_on_the_precision() -> None:
    EASE(reg=1e-9, dimension=8).fit(block_interactions())
    with pytest.raises(ConfigError, match="rounding loses"):
        EASE(reg=1e-9, dimension=8, precision="single").fit(block_interactions())
