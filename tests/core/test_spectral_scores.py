"""The low-pass filter of the interaction graph against its definition, and against what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from block_data import block_interactions

from recbole_dtlns.interactions import TrainInteractions
from recbole_dtlns.judge.spectral import spectral_scores


@pytest.fixture(scope="module")
def train() -> TrainInteractions:
    """Eight blocks, so eight frequencies far below the others; that is how many data of this size keep."""
    return block_interactions(blocks=8, users=12, items=20, missing=6)


def all_pairs(train: TrainInteractions) -> tuple[np.ndarray, np.ndarray]:
    users, items = np.indices((train.n_users, train.n_items))
    return users.ravel(), items.ravel()


def test_scores_are_those_of_the_definition(train: TrainInteractions) -> None:
    matrix = train.matrix.toarray().astype(np.float64)
    user_root, item_root = np.sqrt(matrix.sum(axis=1, keepdims=True)), np.sqrt(matrix.sum(axis=0))
    _, _, right = np.linalg.svd(matrix / user_root / item_root, full_matrices=False)
    expected = (matrix / item_root) @ right[:8].T @ right[:8] * item_root
    found = spectral_scores(train, *all_pairs(train))
    assert found == pytest.approx(expected.ravel(), abs=1e-3)


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
    assert np.array_equal(spectral_scores(train, users[some], items[some]), spectral_scores(train, users, items)[some])
