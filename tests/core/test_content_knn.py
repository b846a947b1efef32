"""The teacher that reads what items say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.teachers.content_knn import ContentKNN
from recbole_dtlns.teachers.contract import top_candidates
from recbole_dtlns.teachers.council import Council

# a and b point one way, c the other; d lies between; e says nothing.
VECTORS = np.array([[2, 0], [1, 0], [0, 3], [1, 1], [0, 0]], dtype=np.float32)


def read(pairs: list[tuple[str, str]]) -> TrainInteractions:
    users, items = zip(*pairs, strict=True)
    train = TrainInteractions.from_tokens(np.array(users), np.array(items))
    return replace(train, content=ItemContent.of_vectors(VECTORS))


TRAIN = read([("u", "a"), ("v", "a"), ("v", "c"), ("w", "e"), ("x", "b"), ("x", "d"), ("x", "e")])


def test_scores_are_cosines_to_the_mean_of_the_history() -> None:
    """Long vectors count no more than short ones."""
    scores = ContentKNN().fit(TRAIN).scores(np.arange(2))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(scores[0], [1, 1, 0, half, -np.inf], atol=1e-6)
    np.testing.assert_allclose(scores[1], [half, half, half, 1, -np.inf], atol=1e-6)


def test_who_has_only_what_says_nothing_has_no_candidates() -> None:
    found = top_candidates(ContentKNN().fit(TRAIN), TRAIN, 10)
    assert set(found.users.tolist()) == {0, 1, 3}
    assert 4 not in found.items


def test_an_item_whose_pairs_are_hidden_is_ranked_by_what_it_says() -> None:
    hidden = TRAIN.without(TRAIN.histories()[1] == 2)
    scores = ContentKNN().fit(hidden).scores(np.array([0]))
    assert scores[0, 2] == pytest.approx(0)
    assert np.asarray(hidden.matrix.sum(axis=0)).ravel()[2] == 0


def test_a_council_reads_what_a_member_reads() -> None:
    assert Council({"ContentKNN": ContentKNN()}, 5).reads_text
