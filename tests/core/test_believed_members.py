"""Which members of a council a judge believes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_council import ask, rehearsed
from test_council import train as train

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.believed import Cost, believed, columns_of
from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.contract import Label
from recbole_dtlns.judges.controls import without_member
from recbole_dtlns.judges.features import columns_by_member, feature_names
from recbole_dtlns.judges.learners import Examples, Logistic, mean_ndcg

USERS, PER_USER = 150, 12
COLUMNS = {"good": [1], "copy": [2], "noise": [3], "other": [4]}


def examples(users: int = USERS) -> Examples:
    """Column 0 is nobody's; good and other say something each, copy repeats good, and noise says nothing."""
    random = np.random.default_rng(8)
    features = random.standard_normal((users * PER_USER, 5)).astype(np.float32)
    features[:, 2] = features[:, 1]
    meaning = 2 * features[:, 1] + 2 * features[:, 4] - 3
    answers = random.random(len(features)) < 1 / (1 + np.exp(-meaning))
    return Examples(features, answers, np.repeat(np.arange(users), PER_USER))


def test_who_repeats_another_or_says_nothing_leaves() -> None:
    found = believed(examples(), COLUMNS, 3)
    assert found.members == ("good", "other"), "of two that say the same, the first stays"
    assert set(found.left_out) == {"copy", "noise"} and set(found.staying) == {"good", "other"}
    assert all(cost.is_chance for cost in found.left_out.values())
    assert all(cost.ndcg > 2 * cost.error > 0 for cost in found.staying.values())
    assert believed(examples(), COLUMNS, 3) == found


def test_a_member_costs_what_a_plain_loop_says() -> None:
    """By user: the whole council's NDCG less that of the council without it, on folds that were not learnt from."""
    pairs = examples()
    fold = np.random.default_rng(3).integers(3, size=USERS)[pairs.users]
    lost = []
    for held in range(3):
        known, asked = pairs.of(fold != held), pairs.of(fold == held)
        scores = [
            Logistic(Examples(known.features[:, columns], known.answers, known.users)).probability(
                asked.features[:, columns]
            )
            for columns in ([0, 1, 2, 3, 4], [0, 1])
        ]
        for user in np.unique(asked.users[asked.answers]):
            mine = asked.users == user
            whole, without = (mean_ndcg(asked.users[mine], one[mine], asked.answers[mine]) for one in scores)
            lost.append(whole - without)
    cost = believed(pairs, COLUMNS, 3).staying["other"]
    assert cost.ndcg == pytest.approx(np.mean(lost), rel=1e-4)
    assert cost.error == pytest.approx(np.std(lost, ddof=1) / np.sqrt(len(lost)), rel=1e-4)


def test_a_loss_of_one_standard_error_is_chance() -> None:
    assert Cost(0.01, 0.01).is_chance and Cost(-0.2, 0.01).is_chance and not Cost(0.011, 0.01).is_chance


@pytest.mark.parametrize("columns", [{"good": [1]}, COLUMNS])
def test_where_nobody_can_be_tried_all_stay(columns: dict[str, list[int]]) -> None:
    """A single member, or a single user of whom a fold can be asked."""
    pairs = examples() if len(columns) == 1 else examples(users=1)
    found = believed(pairs, columns, 0)
    assert found.members == tuple(columns) and not found.left_out and not found.staying


def test_columns_of_members_are_those_of_their_features() -> None:
    names = feature_names(("structure",), ("EASE", "ItemKNN"), order=True)
    columns = columns_by_member(("structure",), ("EASE", "ItemKNN"))
    assert [names[column] for column in columns["ItemKNN"]] == ["ItemKNN_rank", "ItemKNN_nearness", "ItemKNN_strength"]
    kept = [names[column] for column in columns_of(["ItemKNN"], columns, len(names))]
    assert kept == [name for name in names if not name.startswith("EASE")]


@pytest.mark.parametrize("learner", ["logistic", "mean"])
def test_a_judge_that_leaves_a_member_out_answers_as_if_it_had_not_been_asked(
    train: TrainInteractions, learner: str
) -> None:
    question = replace(ask(train, 10), rehearsal=rehearsed(train, 1, 10))
    judge = CalibratedJudge(members="chosen", learner=learner)
    verdicts = judge.judge(question)
    facts = verdicts.facts
    assert len(facts["believed"]) == 1, "the blocks are found by either teacher"
    (left,) = facts["left_out"]
    expected = CalibratedJudge(learner=learner).judge(without_member(question, left))
    np.testing.assert_array_equal(verdicts.probability, expected.probability)
    assert (verdicts.label == Label.POSITIVE).any()
    mean, error = facts["left_out"][left]
    assert f"believes {facts['believed'][0]}, and not {left} ({mean:+.4f} ± {error:.4f})" in judge.remark(facts)
    assert judge.inputs() != CalibratedJudge(learner=learner).inputs()


def test_one_teacher_is_believed_without_choice(train: TrainInteractions) -> None:
    known = rehearsed(train, 1, 10)
    alone = replace(
        known, question=replace(known.question, opinions=None), actual=replace(ask(train, 10), opinions=None)
    )
    question = replace(ask(train, 10), opinions=None, rehearsal=alone)
    verdicts = CalibratedJudge(members="chosen").judge(question)
    np.testing.assert_array_equal(verdicts.probability, CalibratedJudge().judge(question).probability)
    assert "believed" not in verdicts.facts
