"""What learnt judges see of texts, and the controls that take it away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recbole_dtlns.conformance import block_question
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.judges.audit import audit
from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.contract import TEXT_VIEW, Question
from recbole_dtlns.judges.controls import AlwaysJudge, with_shuffled_text, without_text
from recbole_dtlns.judges.features import feature_names, pair_features
from recbole_dtlns.judges.history import text_similarity
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.teachers.council import Opinions
from recbole_dtlns.trees.item_tree import ItemTree

# a and b point one way, c the other; d lies between; e says nothing.
VECTORS = np.array([[2, 0], [1, 0], [0, 3], [1, 1], [0, 0]], dtype=np.float32)
HALF = np.sqrt(0.5)


def small() -> Question:
    pairs = [("u", "a"), ("u", "c"), ("u", "e"), ("v", "e"), ("w", "b"), ("w", "d")]
    train = TrainInteractions.from_tokens(*np.array(pairs).T)
    train = replace(train, content=ItemContent.of_vectors(VECTORS))
    users, items = np.array([0, 0, 1, 2, 2], dtype=np.int32), np.array([1, 3, 0, 2, 4], dtype=np.int32)
    zeros = np.zeros(5)
    candidates = Candidates(users, items, zeros.astype(np.int32), zeros.astype(np.float32))
    tree = ItemTree.from_paths(["0", "0", "1", "1", ""])
    return Question(train, candidates, {"structure": tree, "semantic": tree})


def test_nearest_and_mean_cosine_to_the_history() -> None:
    """Items without text are left out of the history; who has nothing else, and what says nothing, gets 0."""
    expected = [[1, 0.5], [HALF, HALF], [0, 0], [HALF, HALF / 2], [0, 0]]
    question = small()
    found = text_similarity(question, unit_rows(question.train.text_vectors))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_features_end_with_those_of_texts_where_they_are_asked_for() -> None:
    question = small()
    names = feature_names(question.views, text=True)
    assert names[-2:] == ("text_nearest", "text_mean")
    with_text = pair_features(question, text=True)
    assert with_text.shape == (5, len(names))
    assert with_text.dtype == np.float32
    assert np.array_equal(with_text[:, :-2], pair_features(question))
    silent = replace(question, train=replace(question.train, content=None))
    assert np.array_equal(pair_features(silent, text=True), pair_features(question))


def told(rehearses: bool = True) -> Question:
    """The block question, with a text tree, and with a member that reads text beside one that does not."""

    def with_all(question: Question) -> Question:
        n = len(question.candidates)
        ranks = np.stack([question.candidates.ranks, question.candidates.ranks], axis=1).astype(np.int16)
        strengths = np.linspace(1, 0, 2 * n, dtype=np.float32).reshape(n, 2)
        opinions = Opinions(("EASE", "ContentKNN"), ranks, strengths, of_text=("ContentKNN",))
        return replace(question, views={**question.views, TEXT_VIEW: question.semantic}, opinions=opinions)

    question = block_question(rehearses=rehearses)
    rehearsal = question.rehearsal
    if rehearsal is not None:
        known = with_all(rehearsal.question)
        rehearsal = replace(rehearsal, question=known, actual=with_all(rehearsal.actual))
    return replace(with_all(question), rehearsal=rehearsal)


def test_without_text_nothing_of_it_is_left() -> None:
    asked = without_text(told())
    assert asked.rehearsal is not None
    for question in (asked, asked.rehearsal.question, asked.rehearsal.actual):
        assert question.train.content is None
        assert TEXT_VIEW not in question.views
        assert question.opinions is not None
        assert (question.opinions.names, question.opinions.of_text) == (("EASE",), ())


def test_shuffled_text_moves_texts_and_leaves_all_else() -> None:
    before, after = told(), with_shuffled_text(told(), seed=3)
    assert np.array_equal(before.candidates.items, after.candidates.items)
    assert sorted(after.train.content.texts) == sorted(before.train.content.texts)
    assert after.train.content.texts != before.train.content.texts
    assert np.array_equal(after.views["structure"].digits, before.views["structure"].digits)
    assert not np.array_equal(after.views[TEXT_VIEW].digits, before.views[TEXT_VIEW].digits)
    ranks = before.opinions.ranks, after.opinions.ranks
    assert np.array_equal(ranks[0][:, 0], ranks[1][:, 0])
    assert not np.array_equal(ranks[0][:, 1], ranks[1][:, 1])
    users = before.candidates.users
    for user in np.unique(users):
        assert sorted(ranks[0][users == user, 1]) == sorted(ranks[1][users == user, 1])
    again = with_shuffled_text(told(), seed=3)
    assert np.array_equal(again.opinions.ranks, after.opinions.ranks)


def test_an_audit_asks_with_other_texts_and_without_any() -> None:
    """The judge that sees texts finds the hidden pairs of a block by them; those of other items help it to nothing."""
    actual = replace(block_question(rehearses=True), opinions=None)
    rehearsal = actual.rehearsal
    assert rehearsal is not None
    inner = replace(rehearsal.question, rehearsal=block_question(seed=1, rehearses=True).rehearsal)
    judges = {"reads": CalibratedJudge(reads_text=True), "blind": CalibratedJudge(), "always": AlwaysJudge()}
    scores = audit(judges, replace(rehearsal, question=inner), seed=0, controls=["always"]).scores
    assert list(scores) == [
        "reads",
        "reads, without text",
        "reads, shuffled text",
        "blind",
        "always",
        "always, shuffled paths",
        "always, random paths",
    ]
    assert scores["reads, without text"].auc == pytest.approx(scores["blind"].auc)


def test_reading_text_is_part_of_what_verdicts_are_kept_by() -> None:
    assert CalibratedJudge(reads_text=True).inputs() != CalibratedJudge().inputs()
