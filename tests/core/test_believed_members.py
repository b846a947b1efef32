"""Which members of a council a judge believes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_council import ask, rehearsed
from test_council import train as train

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges import calibrated
from recbole_dtlns.judges.believed import Believed, Cost, believed, columns_of
from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.controls import without_member
from recbole_dtlns.judges.features import columns_by_member, feature_names
from recbole_dtlns.judges.learners import Examples, Logistic, mean_ndcg

COLUMNS = {"misleading": [1], "good": [2], "other": [3]}


def examples(light: int = 120, heavy: int = 12) -> Examples:
    """Column 0 is nobody's; good and other say something each. Misleading is right about the many pairs of few users,
    from which it is believed, and wrong about the few pairs of the many."""
    random = np.random.default_rng(8)
    users = np.concatenate([np.repeat(np.arange(light), 10), np.repeat(light + np.arange(heavy), 300)])
    meaning = random.standard_normal(len(users))
    features = random.standard_normal((len(users), 4)).astype(np.float32)
    features[:, 1] = np.where(users < light, -meaning, meaning) + features[:, 1] / 2
    features[:, 2:] += meaning[:, None]
    answers = random.random(len(users)) < 1 / (1 + np.exp(2 - 2 * meaning))
    return Examples(features, answers, users)


def test_who_misleads_leaves_and_the_others_stay() -> None:
    found = believed(examples(), COLUMNS, 3)
    assert found.members == ("good", "other") and list(found.left_out) == ["misleading"]
    assert found.left_out["misleading"].is_gain
    assert all(cost.ndcg > cost.error > 0 for cost in found.staying.values())
    assert believed(examples(), COLUMNS, 3) == found


def test_of_two_who_mislead_the_worse_leaves_first() -> None:
    """Each misleads about another half of what decides, one of them more faintly."""
    random = np.random.default_rng(8)
    users = np.concatenate([np.repeat(np.arange(150), 10), np.repeat(150 + np.arange(12), 300)])
    meanings = random.standard_normal((2, len(users)))
    features = random.standard_normal((len(users), 4)).astype(np.float32)
    told = np.where(users < 150, -meanings, meanings)
    features[:, 0] = told[0] + features[:, 0] / 2
    features[:, 1] += told[1]
    features[:, 2:] += meanings.T
    answers = random.random(len(users)) < 1 / (1 + np.exp(2 - 2 * meanings.sum(0)))
    columns = {"faint": [1], "misleading": [0], "good": [2], "other": [3]}
    found = believed(Examples(features, answers, users), columns, 3)
    assert list(found.left_out) == ["misleading", "faint"] and found.members == ("good", "other")


def test_who_repeats_another_stays() -> None:
    """It costs nothing but time, and what is not missed may still be worth something."""
    pairs = examples()
    columns = {"good": [0], "copy": [1], "other": [2]}
    found = believed(replace(pairs, features=pairs.features[:, [2, 2, 3]]), columns, 3)
    assert found.members == tuple(columns) and list(found.staying) == list(columns)
    assert found.staying["copy"] == found.staying["good"] and found.staying["copy"].ndcg < found.staying["other"].ndcg


def test_a_member_costs_what_a_plain_loop_says() -> None:
    """By user: the whole council's NDCG less that of the council without it, on folds that were not learnt from."""
    pairs = examples()
    fold = np.random.default_rng(3).integers(3, size=132)[pairs.users]
    lost = []
    for held in range(3):
        known, asked = pairs.of(fold != held), pairs.of(fold == held)
        scores = [
            Logistic(Examples(known.features[:, columns], known.answers, known.users)).probability(
                asked.features[:, columns]
            )
            for columns in ([0, 1, 2, 3], [0, 2, 3])
        ]
        for user in np.unique(asked.users[asked.answers]):
            mine = asked.users == user
            whole, without = (mean_ndcg(asked.users[mine], one[mine], asked.answers[mine]) for one in scores)
            lost.append(whole - without)
    cost = believed(pairs, COLUMNS, 3).left_out["misleading"]
    assert cost.ndcg == pytest.approx(np.mean(lost), rel=1e-4)
    assert cost.error == pytest.approx(np.std(lost, ddof=1) / np.sqrt(len(lost)), rel=1e-4)


def test_a_gain_of_one_standard_error_is_chance() -> None:
    assert Cost(-0.011, 0.01).is_gain and not Cost(-0.01, 0.01).is_gain and not Cost(0.2, 0.01).is_gain


@pytest.mark.parametrize("columns", [{"good": [1]}, COLUMNS])
def test_where_nobody_can_be_tried_all_stay(columns: dict[str, list[int]]) -> None:
    """A single member, or a single user of whom a fold can be asked."""
    pairs = examples() if len(columns) == 1 else examples(light=1, heavy=0)
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
    train: TrainInteractions, learner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = replace(ask(train, 10), rehearsal=rehearsed(train, 1, 10))
    judge = CalibratedJudge(members="chosen", learner=learner)
    all_stay = judge.judge(question)
    np.testing.assert_array_equal(all_stay.probability, CalibratedJudge(learner=learner).judge(question).probability)
    assert all_stay.facts["believed"] == ["EASE", "ItemKNN"] and not all_stay.facts["left_out"]
    assert "believes EASE, ItemKNN: without, NDCG@20 of hidden pairs would lose EASE (" in judge.remark(all_stay.facts)

    found = Believed(("ItemKNN",), {"EASE": Cost(-0.02, 0.01)})
    monkeypatch.setattr(calibrated, "believed", lambda *_: found)
    verdicts = judge.judge(question)
    expected = CalibratedJudge(learner=learner).judge(without_member(question, "EASE"))
    np.testing.assert_array_equal(verdicts.probability, expected.probability)
    assert "believes ItemKNN, and not EASE (-0.0200 ± 0.0100)" in judge.remark(verdicts.facts)
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
