"""What a judge's name and settings make: what it reads, what its verdicts depend on, and what they look like."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from block_data import block_interactions
from test_hidden_positives import ask, rehearsal, rehearsed

from recbole_dtlns.judges import learners
from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.contract import Label, Question
from recbole_dtlns.judges.controls import RankJudge, ShuffledJudge, with_random_paths, with_shuffled_paths
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.teachers.contract import Candidates

LABELS = "user_id\titem_id\nu0-00\ti1-00\nu1-00\ti0-00\n"

# No two are equal, so a setting that is read in place of another shows.
SETTINGS: dict[str, Any] = {
    "judge_threshold": 0.75,
    "judge_random_rate": 0.3,
    "judge_rank_first": 4,
    "judge_hide": 0.2,
    "judge_lift": 1.5,
    "judge_missing": "negative",
    "judge_labels": "labels.tsv",
    "seed": 9,
}

INPUTS = {
    "structural": {"judge": "structural", "threshold": 0.75},
    "calibrated": {"judge": "calibrated", "lift": 1.5},  # what is hidden is known by its stage
    "recorded": {
        "judge": "recorded",
        "file": hashlib.sha256(LABELS.encode()).hexdigest(),
        "missing": "negative",
        "threshold": 0.75,
    },
    "always": {"judge": "POSITIVE"},
    "never": {"judge": "NEGATIVE"},
    "random": {"judge": "random", "rate": 0.3, "seed": 9},
    "rank": {"judge": "rank", "first": 4},
    "shuffled": {"judge": "shuffled", "threshold": 0.75, "seed": 9},
}


def made(name: str, **keys: Any) -> Any:
    """The judge that a configuration names."""
    Path("labels.tsv").write_text(LABELS)
    return JUDGES.make(name, {**SETTINGS, **keys})


@pytest.fixture(scope="module")
def question() -> Question:
    return rehearsed(ask(block_interactions(blocks=4, users=20, items=24, missing=6)), 0.2, seed=9)


@pytest.mark.parametrize("name", INPUTS)
def test_verdicts_are_kept_under_all_that_they_depend_on(name: str) -> None:
    """A stored verdict is found again by these; the file of labels by its content, not by its name."""
    assert made(name).inputs() == INPUTS[name]


def test_a_learner_is_told_apart_from_another_and_its_seed_too() -> None:
    """Where the default one learns, which needs no seed, neither is named."""
    expected = {**INPUTS["calibrated"], "learner": "boosted", "seed": 9}
    assert made("calibrated", judge_learner="boosted").inputs() == expected


@pytest.mark.parametrize("name", INPUTS)
def test_verdicts_are_one_float_and_one_small_integer_a_pair(name: str, question: Question) -> None:
    verdicts = made(name).judge(question)
    assert verdicts.probability.shape == verdicts.label.shape == (len(question.candidates),)
    assert (verdicts.probability.dtype, verdicts.label.dtype) == (np.float32, np.int8)


def test_a_part_of_a_question_has_no_rehearsal(question: Question) -> None:
    """Its candidates are some of the pairs; the teacher would name others."""
    part = question.about(np.array([0, 5, 9]))
    assert part.rehearsal is None and question.rehearsal is not None
    np.testing.assert_array_equal(part.pair_keys(), question.pair_keys()[[0, 5, 9]])
    np.testing.assert_array_equal(part.candidates.scores, question.candidates.scores[[0, 5, 9]])
    assert part.structure is question.structure and part.train is question.train


def test_the_keys_of_pairs_are_exact_however_many_users_and_items_there_are() -> None:
    """The ids of candidates are 32-bit numbers, and their keys are not."""
    columns = np.array([[0, 70_000], [5, 99_999], [0, 0]], np.int32)
    train: Any = SimpleNamespace(n_items=100_000)
    keys = Question(train, Candidates(*columns, np.zeros(2, np.float32)), {}).pair_keys()
    assert keys.tolist() == [5, 7_000_099_999] and keys.dtype == np.int64


def test_the_rank_judge_takes_the_teachers_first() -> None:
    """Known answer; the last candidate of the first user and the first of the next are told apart by rank alone."""
    columns = np.array([[0, 0, 0, 0, 1, 1], [5, 6, 7, 8, 5, 6], [0, 1, 2, 3, 0, 1]], np.int32)
    asked = SimpleNamespace(candidates=Candidates(*columns, np.zeros(6, np.float32)))
    verdicts = RankJudge(first=2).judge(asked)  # type: ignore[arg-type]
    assert verdicts.label.tolist() == [1, 1, 0, 0, 1, 1]
    assert verdicts.probability == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1, 1 / 2])


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_rate_of_nothing_or_all_is_exactly_that(rate: float, question: Question) -> None:
    assert set(made("random", judge_random_rate=rate).judge(question).label.tolist()) == {rate}


def test_the_shuffled_judge_is_the_rule_on_trees_shuffled_by_its_seed(question: Question) -> None:
    expected = StructuralJudge(threshold=0.75).judge(with_shuffled_paths(question, 3))
    found = ShuffledJudge(threshold=0.75, seed=3).judge(question)
    np.testing.assert_array_equal(found.label, expected.label)
    np.testing.assert_array_equal(found.probability, expected.probability)


def test_both_trees_are_shuffled_alike_and_drawn_apart(question: Question) -> None:
    """Shuffling gives item i both paths of another item; random paths are those of leaves, in each tree anew."""
    shuffled, same = with_shuffled_paths(question, 1), with_shuffled_paths(question, 1)
    order = np.random.default_rng(1).permutation(question.train.n_items)
    for tree in ("structure", "semantic"):
        true, other = getattr(question, tree), getattr(shuffled, tree)
        np.testing.assert_array_equal(other.digits, true.digits[order])
        np.testing.assert_array_equal(other.digits, getattr(same, tree).digits)
    drawn, again, another = (with_random_paths(question, seed) for seed in (1, 1, 2))
    for tree in ("structure", "semantic"):
        paths = getattr(drawn, tree).paths
        assert set(paths) <= set(getattr(question, tree).paths)
        assert paths == getattr(again, tree).paths != getattr(another, tree).paths
    # Of one tree in both places, the draws would be equal if they were one.
    twice = with_random_paths(replace(question, views={**question.views, "semantic": question.structure}), 1)
    assert twice.structure.paths != twice.semantic.paths


def test_leaves_are_drawn_equally_often_whatever_their_size() -> None:
    """Of a leaf of ninety items and one of ten, each gets about half of the items."""
    train = block_interactions(blocks=5, users=4, items=20, missing=1)
    tree = type(ask(block_interactions()).structure).from_paths(["0"] * 90 + ["1"] * 10)
    none = Candidates(*(np.array([], dtype) for dtype in (np.int32, np.int32, np.int32, np.float32)))
    drawn = with_random_paths(Question(train, none, {"structure": tree, "semantic": tree}), 0)
    sizes = np.bincount(drawn.structure.leaf_of_item)
    assert sizes.sum() == 100 and len(sizes) == 2 and sizes.min() >= 30


@pytest.mark.parametrize("control", [with_shuffled_paths, with_random_paths])
def test_a_question_without_a_rehearsal_has_none_on_other_paths_either(control: Any, question: Question) -> None:
    assert control(replace(question, rehearsal=None), 1).rehearsal is None


class Fixed:
    """Stands for a fitted classifier that says the same of every pair."""

    def probability(self, features: np.ndarray) -> np.ndarray:
        return np.full(len(features), 0.25)


@pytest.mark.parametrize(("lift", "label"), [(1.0, Label.POSITIVE), (1.01, Label.NEGATIVE), (0.0, Label.POSITIVE)])
def test_a_probability_of_exactly_the_lift_is_enough(lift: float, label: Label, question: Question) -> None:
    """At least so many times the mean: a pair as likely as the mean has a lift of one."""
    verdicts = CalibratedJudge(lift=lift).apply(Fixed(), question)
    assert set(verdicts.label.tolist()) == {label}
    assert set(verdicts.probability.tolist()) == {0.25}


def test_no_candidate_has_no_verdict(question: Question) -> None:
    verdicts = CalibratedJudge().apply(Fixed(), question.about(np.array([], np.int64)))
    assert verdicts.probability.shape == verdicts.label.shape == (0,)
    assert (verdicts.probability.dtype, verdicts.label.dtype) == (np.float32, np.int8)


@pytest.mark.parametrize(("learner", "thinned"), [("logistic", False), ("boosted", True), ("auto", True)])
def test_the_seed_decides_what_is_learnt_from_where_pairs_are_left_out(
    learner: str, thinned: bool, question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logistic regression takes them all, so that its verdicts, which are kept without a seed, need none."""
    monkeypatch.setattr(learners, "_MOST_NEGATIVES", 300)
    first, again, other = (made("calibrated", judge_learner=learner, seed=seed).judge(question) for seed in (1, 1, 2))
    assert np.array_equal(first.probability, again.probability) and first.facts == again.facts
    assert np.array_equal(first.probability, other.probability) != thinned


def test_what_the_calibrated_judge_learns_is_repeated_by_the_seed(question: Question) -> None:
    """And other hidden pairs teach it something else."""
    first, again, other = (CalibratedJudge().judge(rehearsed(question, 0.2, seed)).probability for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_scale_of_the_teachers_scores_does_not_matter(question: Question) -> None:
    """A teacher whose scores are a thousand times larger says the same, so the same is learnt from it."""

    def louder(asked: Question) -> Question:
        return replace(asked, candidates=replace(asked.candidates, scores=1000 * asked.candidates.scores))

    known = rehearsal(question.train, 0.2, seed=1)
    loud = replace(known, question=louder(known.question), actual=louder(known.actual))
    said, loudly = (CalibratedJudge().judge(replace(question, rehearsal=one)) for one in (known, loud))
    assert loudly.probability == pytest.approx(said.probability, rel=1e-2)
