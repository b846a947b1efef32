"""NeighbourRidge computes its formula on any catalogue, in bounded memory, and no number of threads changes a bit."""

from __future__ import annotations

import tracemalloc
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from block_data import block_interactions
from plain_python import random_interactions
from threadpoolctl import threadpool_limits

from recbole_dtlns.data import co_occurrence
from recbole_dtlns.data.co_occurrence import cut_histories
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.teachers import neighbour_ridge, restricted_ridge
from recbole_dtlns.teachers.closed_form import EASE
from recbole_dtlns.teachers.contract import top_candidates
from recbole_dtlns.teachers.neighbour_ridge import NeighbourRidge


def plain_weights(train: TrainInteractions, k: int, reg: float, matrix: np.ndarray | None = None) -> np.ndarray:
    """Item by item, with dense matrices: column j holds the weights of j's neighbours, equal cosines by item."""
    history = (train.matrix.toarray() if matrix is None else matrix).astype(np.float64)
    gram, users = history.T @ history, np.asarray(train.matrix.sum(axis=0), dtype=np.float64)
    weights = np.zeros_like(gram)
    for item in range(train.n_items):
        cosine = (gram[item] / np.sqrt(users[item] * users)).astype(np.float32)
        cosine[item] = 0
        near = [other for other in np.lexsort((np.arange(train.n_items), -cosine))[:k] if cosine[other] > 0]
        if near:
            weights[near, item] = np.linalg.solve(gram[np.ix_(near, near)] + reg * np.eye(len(near)), gram[near, item])
    return weights


def weights_of(teacher: NeighbourRidge, train: TrainInteractions) -> sp.csr_array:
    """Read off the scores of users who have one item each."""
    fitted = teacher.fit(train)
    fitted._matrix = sp.csr_array(sp.eye_array(train.n_items, dtype=np.float32))
    return fitted.scores(np.arange(train.n_items))


@pytest.mark.parametrize("reg", [0.5, 50.0])
@pytest.mark.parametrize("k", [1, 4, 200])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_it_is_its_formula(share: float, k: int, reg: float) -> None:
    """On sparse data too, where items have fewer neighbours than k, each another number, and some none."""
    train = random_interactions(40, 30, share, seed=1)
    found = weights_of(NeighbourRidge(k=k, reg=reg, dimension=4), train).toarray()
    np.testing.assert_allclose(found, plain_weights(train, k, reg), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("users", "expected"), [(40, 50.0), (400, 3.5 * 40)])
def test_its_l2_weight_follows_the_pairs_of_items(users: int, expected: float) -> None:
    """Where none is given; on sparse data it stays at its least."""
    made = np.arange(users * 3)
    train = TrainInteractions.from_tokens((made // 3).astype(str), (made % 30).astype(str))
    teacher = NeighbourRidge(k=4, dimension=4)
    assert teacher.regularisation(train) == expected
    found, given = weights_of(teacher, train), weights_of(NeighbourRidge(k=4, reg=expected, dimension=4), train)
    np.testing.assert_array_equal(found.toarray(), given.toarray())
    assert teacher.fit(train).item_vectors.shape == (30, 4)
    assert teacher.fit(train).note == f"L2 weight {expected:.0f}"
    assert NeighbourRidge(k=4, reg=7.0, dimension=4).fit(train).note == ""


@pytest.mark.parametrize("key", ["k", "reg", "dimension"])
def test_every_setting_is_an_input_of_what_is_kept(key: str) -> None:
    assert NeighbourRidge(**{key: 3}).inputs() != NeighbourRidge().inputs()


def test_long_histories_are_sampled_for_neighbours_and_weights_alike() -> None:
    train = random_interactions(60, 30, 0.3, seed=2)
    with mock.patch.object(neighbour_ridge, "MAX_HISTORY", 6):
        found = weights_of(NeighbourRidge(k=8, reg=5.0, dimension=4), train).toarray()
    cut = cut_histories(train, 6)
    assert np.diff(cut.indptr).max() == 6 < np.diff(train.matrix.indptr).max()
    np.testing.assert_allclose(found, plain_weights(train, 8, 5.0, cut.toarray()), rtol=1e-4, atol=1e-6)


def test_with_all_items_as_neighbours_it_ranks_as_ease_does() -> None:
    """Both regress each item on all others."""
    train = random_interactions(60, 20, 0.4, seed=3)
    users = np.arange(train.n_users)
    ridge = NeighbourRidge(k=19, reg=10.0, dimension=4).fit(train).scores(users).toarray()
    np.testing.assert_allclose(ridge, EASE(reg=10.0, dimension=4).fit(train).scores(users), rtol=1e-4, atol=1e-5)


def bits(train: TrainInteractions) -> bytes:
    fitted = NeighbourRidge(k=20, reg=5.0, dimension=8).fit(train)
    scores = fitted.scores(np.arange(train.n_users))
    return b"".join(part.tobytes() for part in (scores.data, scores.indices, scores.indptr, fitted.item_vectors))


def test_threads_change_no_bit() -> None:
    train = random_interactions(300, 200, 0.05, seed=4)
    with mock.patch.object(co_occurrence, "_PRODUCTS_AT_ONCE", 500):
        found = []
        for threads in (1, 2, 4):
            with threadpool_limits(threads):
                found.append(bits(train))
    assert found[0] == found[1] == found[2] == bits(train)


@pytest.mark.parametrize("at_once", [{"_PAIRS_AT_ONCE": 1}, {"_DENSE_AT_ONCE": 40}, {"_ITEMS_AT_ONCE": 3}])
def test_groups_change_no_weight(at_once: dict[str, int]) -> None:
    train = random_interactions(60, 40, 0.2, seed=5)
    teacher = NeighbourRidge(k=10, reg=5.0, dimension=4)
    whole = weights_of(teacher, train).toarray()
    with mock.patch.multiple(restricted_ridge, **at_once):
        np.testing.assert_allclose(weights_of(teacher, train).toarray(), whole, rtol=1e-6, atol=1e-9)


def test_items_that_share_no_user_have_no_weights() -> None:
    """Every user has one item: there is nothing to say, and nothing fails."""
    train = TrainInteractions.from_tokens(
        np.array([f"u{n}" for n in range(50)]), np.array([f"i{n}" for n in range(50)])
    )
    fitted = NeighbourRidge().fit(train)
    assert fitted.scores(np.arange(train.n_users)).nnz == 0
    assert fitted.item_vectors.shape == (50, 64) and not fitted.item_vectors.any()
    assert len(top_candidates(fitted, train, 5)) == 0


def test_a_catalogue_of_one_item() -> None:
    fitted = NeighbourRidge().fit(TrainInteractions.from_tokens(np.array(["a", "b"]), np.array(["i", "i"])))
    assert fitted.scores(np.arange(2)).shape == (2, 1)


def test_progress_counts_every_item_once() -> None:
    """Those without neighbours too."""
    train = random_interactions(40, 30, 0.03, seed=6)
    told: list[int] = []
    NeighbourRidge(k=5).fit(train, progress=told.append)
    assert sum(told) == train.n_items and len(told) > 1


def test_memory_grows_with_items_and_not_with_their_pairs() -> None:
    """Twice the items, in blocks of one size, take twice the memory at most; items x items numbers would take four."""
    peaks = []
    for blocks in (40, 80):
        train = block_interactions(blocks=blocks, users=20, items=50, missing=5)
        tracemalloc.start()
        NeighbourRidge(k=20, dimension=4).fit(train)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert peaks[-1] < 8 * train.n_items**2 / 2
    assert peaks[1] < 2.5 * peaks[0]
