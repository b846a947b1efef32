"""The low-pass filter of the interaction graph against its definition, and against what it is for."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import numpy as np
import psutil
import pytest
from block_data import block_interactions
from threadpoolctl import threadpool_limits

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.teachers import spectral
from recbole_dtlns.teachers.spectral import GFCF, spectral_scores


@pytest.fixture(scope="module")
def train() -> TrainInteractions:
    """Eight blocks, so eight frequencies far below the others; that is how many data of this size keep."""
    return block_interactions(blocks=8, users=12, items=20, missing=6)


def all_pairs(train: TrainInteractions) -> tuple[np.ndarray, np.ndarray]:
    users, items = np.indices((train.n_users, train.n_items))
    return users.ravel(), items.ravel()


def defined(train: TrainInteractions, vectors: int) -> np.ndarray:
    """(R D_i^-1/2) V V^T D_i^1/2 by a whole decomposition, [n_users, n_items]."""
    matrix = train.matrix.toarray().astype(np.float64)
    user_root, item_root = np.sqrt(matrix.sum(axis=1, keepdims=True)), np.sqrt(matrix.sum(axis=0))
    _, _, right = np.linalg.svd(matrix / user_root / item_root, full_matrices=False)
    return (matrix / item_root) @ right[:vectors].T @ right[:vectors] * item_root


def test_scores_are_those_of_the_definition(train: TrainInteractions) -> None:
    found = spectral_scores(train, *all_pairs(train))
    assert found == pytest.approx(defined(train, 8).ravel(), abs=1e-3)
    assert found.dtype == np.float64


@pytest.mark.parametrize(("users", "items"), [(32, 40), (40, 32)])
def test_more_users_and_items_keep_more_frequencies(users: int, items: int) -> None:
    """One for every 32 of the fewer ones: ten blocks of 32 keep ten."""
    train = block_interactions(blocks=10, users=users, items=items, missing=8)
    some = np.random.default_rng(0).integers(0, [train.n_users, train.n_items], (2_000, 2)).T
    assert spectral_scores(train, *some) == pytest.approx(defined(train, 10)[tuple(some)], abs=1e-3)


def test_few_items_let_all_pass() -> None:
    """With as many vectors as items the filter is none: what is left of a history is the history."""
    train = block_interactions(blocks=1, users=30, items=6, missing=2)
    found = spectral_scores(train, *all_pairs(train))
    assert found == pytest.approx(train.matrix.toarray().ravel(), abs=1e-5)


def test_missing_items_of_the_own_block_score_above_all_others(train: TrainInteractions) -> None:
    users, items = all_pairs(train)
    own = (
        np.array([token[1] for token in train.user_tokens])[users]
        == np.array([token[1] for token in train.item_tokens])[items]
    )
    missing = train.matrix.toarray()[users, items] == 0
    scores = spectral_scores(train, users, items)
    assert scores[own & missing].min() > scores[~own].max() + 0.1


def test_pairs_are_scored_alike_in_whatever_company(train: TrainInteractions) -> None:
    users, items = all_pairs(train)
    some = np.random.default_rng(0).permutation(len(users))[:100]
    alone = spectral_scores(train, users[some], items[some])
    assert np.array_equal(alone, spectral_scores(train, users, items)[some])
    with mock.patch.object(spectral, "_PAIRS_AT_ONCE", 30):
        assert np.array_equal(spectral_scores(train, users[some], items[some]), alone)


@pytest.mark.parametrize("linear", [0.0, 0.7])
def test_the_teacher_is_both_filters(linear: float) -> None:
    """The ideal one with the four frequencies that data of this size keep, plus the linear filter's R R'^T R'."""
    train = block_interactions(blocks=4, users=12, items=20, missing=6)
    fitted = GFCF(linear=linear).fit(train)
    matrix = train.matrix.toarray().astype(np.float64)
    normalised = matrix / np.sqrt(matrix.sum(axis=1, keepdims=True)) / np.sqrt(matrix.sum(axis=0))
    expected = defined(train, 4) + linear * matrix @ normalised.T @ normalised
    assert fitted.scores(np.arange(train.n_users)) == pytest.approx(expected, abs=1e-3)
    assert fitted.item_vectors.shape == (train.n_items, 4)


def test_the_teacher_does_not_depend_on_threads(train: TrainInteractions) -> None:
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(GFCF(linear=0.5).fit(train).scores(np.arange(train.n_users)))
    assert np.array_equal(*found)


def test_the_teacher_refuses_vectors_that_do_not_fit(train: TrainInteractions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(ConfigError, match=r"GFCF needs about \S+ GiB for 160 items.*NeighbourRidge"):
        GFCF().fit(train)
