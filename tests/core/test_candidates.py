"""Candidates are the teacher's best unobserved items, exactly; relabelling takes the best of the positive ones."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from plain_python import random_interactions, user_sets

from recbole_dtlns.errors import DataError
from recbole_dtlns.guidance.relabelling import relabel
from recbole_dtlns.judges.contract import Label, Verdicts
from recbole_dtlns.teachers import contract
from recbole_dtlns.teachers.contract import Candidates, top_candidates


class FixedTeacher:
    """A teacher with given scores [n_users, n_items]."""

    def __init__(self, scores: np.ndarray) -> None:
        self._scores = scores
        self.item_vectors = np.zeros((scores.shape[1], 1), np.float32)

    def scores(self, users: np.ndarray) -> np.ndarray:
        return self._scores[users]


class SparseTeacher(FixedTeacher):
    """The same scores as CSR, columns in no order, without entries for -inf."""

    def scores(self, users: np.ndarray) -> sp.csr_array:
        scores = self._scores[users][:, ::-1]
        rows, columns = np.nonzero(scores != -np.inf)
        indptr = np.searchsorted(rows, np.arange(len(users) + 1))
        return sp.csr_array((scores[rows, columns], scores.shape[1] - 1 - columns, indptr), shape=scores.shape)


def rows(candidates: Candidates) -> list[tuple[int, int, int, float]]:
    columns = (candidates.users, candidates.items, candidates.ranks, candidates.scores)
    return list(zip(*(column.tolist() for column in columns), strict=True))


# Few different scores, so most are tied; -inf is "no evidence".
tied_scores = st.sampled_from([0.0, 1.0, -1.0, 0.5, -np.inf])


@pytest.mark.parametrize("teacher", [FixedTeacher, SparseTeacher])
@given(data=st.data(), seed=st.integers(0, 5), k=st.integers(1, 25), chunk=st.integers(1, 400))
def test_candidates_are_the_best_unobserved_items(
    teacher: type[FixedTeacher], data: st.DataObject, seed: int, k: int, chunk: int
) -> None:
    """Sorted by score, then item token; observed and unscored items never; the same in chunks of any size."""
    train = random_interactions(8, 20, 0.3, seed)
    scores = data.draw(arrays(np.float64, train.matrix.shape, elements=tied_scores))
    expected = []
    for user, seen in enumerate(user_sets(train)):
        free = [item for item in range(train.n_items) if item not in seen and scores[user, item] > -np.inf]
        best = sorted(free, key=lambda item: (-scores[user, item], item))[:k]
        expected += [(user, item, rank, scores[user, item]) for rank, item in enumerate(best)]
    done: list[int] = []
    with mock.patch.object(contract, "_SCORES_AT_ONCE", chunk):
        found = top_candidates(teacher(scores), train, k, done.append)
    assert rows(found) == expected
    assert sum(done) == train.n_users


def test_ties_at_the_last_place_go_to_the_first_tokens() -> None:
    """When all scores are equal, the k candidates are the first k unobserved items, not any k of them."""
    train = random_interactions(30, 200, 0.2, seed=1)
    found = top_candidates(FixedTeacher(np.zeros(train.matrix.shape)), train, 5)
    for user, seen in enumerate(user_sets(train)):
        assert found.items[found.users == user].tolist() == [i for i in range(train.n_items) if i not in seen][:5]


@pytest.mark.parametrize("teacher", [FixedTeacher, SparseTeacher])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_diverged_teacher_is_refused(value: float, teacher: type[FixedTeacher]) -> None:
    """NaN would sort anywhere and +infinity would be dropped; the error names the user."""
    train = random_interactions(8, 20, 0.3, seed=0)
    scores = np.zeros(train.matrix.shape)
    scores[5, 3] = value
    user = train.user_tokens[5]
    with pytest.raises(DataError, match=rf"scores for user '{user}' hold NaN or \+infinity; lower its learning rate"):
        top_candidates(teacher(scores), train, 5)


def test_scores_of_a_teacher_are_not_changed() -> None:
    """A teacher may hand out its own array; observed items are masked in a copy."""
    train = random_interactions(8, 20, 0.3, seed=0)
    scores = np.random.default_rng(0).random(train.matrix.shape)
    before = scores.copy()

    class Shared(FixedTeacher):
        def scores(self, users: np.ndarray) -> np.ndarray:
            return self._scores  # the array itself, as an in-memory teacher would for all users

    top_candidates(Shared(scores), train, 5)
    np.testing.assert_array_equal(scores, before)


@given(st.lists(st.lists(st.sampled_from(list(Label)), max_size=6), min_size=1, max_size=6), st.integers(0, 7))
def test_relabelling_adds_the_best_positives_and_forbids_all(labels: list[list[Label]], top: int) -> None:
    """Per user: the first `top` positive verdicts by rank are added (0: all), every positive one is forbidden."""
    users = np.repeat(np.arange(len(labels)), [len(row) for row in labels]).astype(np.int32)
    ranks = np.concatenate([np.arange(len(row)) for row in labels]).astype(np.int32)
    items = (97 - 7 * ranks + users) % 50  # item order is not rank order
    flat = np.array([label for row in labels for label in row], dtype=np.int8)
    candidates = Candidates(users, items.astype(np.int32), ranks, -ranks.astype(np.float32))
    found = relabel(candidates, Verdicts(np.zeros(len(flat), np.float32), flat), top)
    pairs = list(zip(users.tolist(), items.tolist(), strict=True))
    positive = [pair for pair, label in zip(pairs, flat, strict=True) if label == Label.POSITIVE]
    added = [
        pair for user in range(len(labels)) for pair in [p for p in positive if p[0] == user][: top or len(positive)]
    ]
    assert list(zip(found.forbidden.users.tolist(), found.forbidden.items.tolist(), strict=True)) == sorted(positive)
    assert list(zip(found.positives.users.tolist(), found.positives.items.tolist(), strict=True)) == sorted(added)
    assert found.facts() == {
        "positives": len(added),
        "users_with_positives": len({user for user, _ in added}),
        "forbidden": len(positive),
    }
