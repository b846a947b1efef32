"""The distilled judge stays within its budget and learns what the LLM would have said."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from llm_judges import distilled_judge, llm_judge
from questions import random_question

from recbole_dtlns.conformance.rule_engine import RuleEngine
from recbole_dtlns.errors import JudgeError, UnknownNameError
from recbole_dtlns.judges import distilled
from recbole_dtlns.judges.contract import Label, Question
from recbole_dtlns.judges.distilled import DistilledJudge
from recbole_dtlns.judges.features import pair_features
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.llm.openai_engine import OpenAIEngine
from recbole_dtlns.llm.reply import Reply
from recbole_dtlns.llm.request import Request
from recbole_dtlns.trees.item_tree import ItemTree


def llm(engine: RuleEngine, folder: str = "verdicts", **limits: object) -> LLMJudge:
    return llm_judge(engine, "pair", folder, **limits)


@pytest.fixture(scope="module")
def question() -> Question:
    return random_question(n_users=150, n_items=300, history=6, candidates=20)


def test_it_learns_the_rule_from_a_tenth_of_the_pairs(question: Question) -> None:
    everything = llm(RuleEngine(), "everything").judge(question)
    engine = RuleEngine()
    verdicts = distilled_judge(engine, max_llm_pairs=300).judge(question)
    assert len(engine.asked) <= 300 < len(question.candidates) / 9
    assert (verdicts.label == everything.label).mean() > 0.97
    assert verdicts.facts["llm_pairs"] <= 300
    assert verdicts.facts["llm_pairs"] + verdicts.facts["student_pairs"] == len(question.candidates)
    assert verdicts.facts["agreement"] > 0.9 and verdicts.facts["agreement_pairs"] > 0


def test_the_llms_answer_stands_where_it_was_asked(question: Question) -> None:
    distilled = distilled_judge(RuleEngine(tokens=1), max_llm_pairs=200)
    judge, verdicts = distilled.llm, distilled.judge(question)
    place = judge.store().read().find(judge.plan(question).keys)
    rows = judge.store().read().rows[place[place >= 0]]
    same = verdicts.probability[place >= 0] == rows["probability"]
    assert same.sum() >= verdicts.facts["llm_pairs"] == 200


def test_a_budget_of_tokens_is_kept(question: Question) -> None:
    engine = RuleEngine(tokens=10)
    verdicts = distilled_judge(engine, max_llm_pairs=500, max_tokens_total=1000).judge(question)
    assert verdicts.facts["tokens_of_all"] == 10 * len(engine.asked) <= 1000
    assert verdicts.counts()["abstain"] == 0


def test_sure_pairs_are_not_asked(question: Question) -> None:
    """A student that may be unsure of nothing leaves the rest of the budget unspent."""
    engine = RuleEngine()
    distilled_judge(engine, max_llm_pairs=300, sure=0.0).judge(question)
    assert len(engine.asked) <= 300 * 0.4


def test_the_engine_is_started_once_and_a_second_run_asks_nothing(question: Question) -> None:
    engine = RuleEngine()
    judge = distilled_judge(engine, max_llm_pairs=200)
    first = judge.judge(question)
    assert engine.starts == 1
    asked = len(engine.asked)
    second = judge.judge(question)
    assert len(engine.asked) == asked
    assert np.array_equal(first.probability, second.probability) and np.array_equal(first.label, second.label)


def test_a_budget_for_everything_is_the_llm_itself(question: Question) -> None:
    small = question.about(np.arange(100))
    verdicts = distilled_judge(RuleEngine(), max_llm_pairs=10_000, sure=0.5).judge(small)
    assert np.array_equal(verdicts.label, llm(RuleEngine(), "all").judge(small).label)
    assert verdicts.facts["student_pairs"] == 0


def test_pairs_without_codes_abstain(question: Question) -> None:
    nothing = ItemTree(np.full((question.train.n_items, 1), -1, dtype=np.int16))
    half = question.structure.digits.copy()
    half[::2] = -1
    partial = Question(question.train, question.candidates, {"structure": ItemTree(half), "semantic": nothing})
    verdicts = distilled_judge(RuleEngine(least=1), max_llm_pairs=100).judge(partial)
    expected = StructuralJudge(threshold=0.5).judge(partial)
    assert np.array_equal(verdicts.label == Label.ABSTAIN, expected.label == Label.ABSTAIN)
    assert np.array_equal(np.isnan(verdicts.probability), verdicts.label == Label.ABSTAIN)


def test_an_llm_that_never_answers_is_an_error(question: Question) -> None:
    with pytest.raises(JudgeError, match="answered none"):
        distilled_judge(RuleEngine(abstain_every=1), max_abstain_rate=1.0, max_llm_pairs=50).judge(question)


def test_its_settings_make_it_and_are_what_its_verdicts_depend_on() -> None:
    """No two of them are equal, so one that is read in place of another shows."""
    keys = {"judge_max_llm_pairs": 30, "judge_max_tokens_total": 400, "judge_sure": 0.3, "seed": 5}
    made = JUDGES.make("distilled", {"judge_model": "some-model", "engine": "openai", **keys})
    assert isinstance(made, DistilledJudge)
    assert (made.config.max_llm_pairs, made.config.max_tokens_total) == (30, 400)
    assert (made.config.sure, made.config.seed) == (0.3, 5)
    limits = {"pairs": 30, "tokens": 400, "sure": 0.3, "seed": 5}
    same = LLMJudge(engine=OpenAIEngine(model="some-model"))
    assert made.inputs() == {"judge": "distilled", "llm": same.inputs(), **limits}


def test_what_it_learns_from_must_be_an_engine() -> None:
    with pytest.raises(UnknownNameError, match="unknown engine 'structural'"):
        JUDGES.make("distilled", {"engine": "structural", "judge_threshold": 0.5})


def test_it_learns_from_the_llm_that_its_settings_name() -> None:
    """Here from replies in a file."""
    settings = {
        "engine": "recorded",
        "judge_labels": "replies.jsonl",
        "judge_model": "some-model",
        "judge_revision": None,
        "judge_prompt": "pair",
        "judge_threshold": 0.75,
        "judge_max_history": 0,
        "judge_reask_abstained": False,
        "judge_slice": 16,
        "judge_max_abstain_rate": 0.1,
        "judge_max_tokens_total": 400,
        "judge_max_llm_pairs": 30,
        "judge_sure": 0.3,
        "cache_dir": None,
        "seed": 5,
    }
    made = JUDGES.make("distilled", settings)
    assert isinstance(made, DistilledJudge)
    assert (made.llm.engine.model, made.llm.config.threshold, made.config.max_llm_pairs) == ("some-model", 0.75, 30)


def test_pairs_on_which_the_llm_abstains_stay_open_and_teach_nothing(question: Question) -> None:
    """Asked about twenty of forty, it abstains on every fourth: five are unknown, the student answers the rest."""
    engine = RuleEngine(abstain_every=4)
    small = question.about(np.arange(40))
    distilled = distilled_judge(engine, max_llm_pairs=20, sure=0.5, max_abstain_rate=1.0)
    judge, verdicts = distilled.llm, distilled.judge(small)
    abstained = verdicts.label == Label.ABSTAIN
    assert abstained.sum() == 5 and verdicts.abstained == {"the LLM abstained": 5}
    np.testing.assert_array_equal(np.isnan(verdicts.probability), abstained)
    assert (verdicts.facts["llm_pairs"], verdicts.facts["student_pairs"]) == (20, 20)
    stored = judge.store().read().find(judge.plan(small).keys) >= 0
    assert stored.sum() == 20 and stored[abstained].all()


def test_what_the_rounds_cost_is_added_up(question: Question) -> None:
    """One request a pair and ten tokens a request, over the first sample and three rounds."""
    engine = RuleEngine(tokens=10)
    facts = distilled_judge(engine, max_llm_pairs=100, sure=0.5).judge(question).facts
    assert facts["llm_pairs"] == facts["requests"] == facts["asked"] == len(engine.asked) == 100
    assert facts["tokens"] == facts["tokens_of_all"] == 1000
    assert facts["truncated"] == 0 and facts["mode"] == "log-probabilities"


class Lessons:
    """Every student that was taught, with what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.students: list[Any] = []
        self.labels: list[np.ndarray] = []
        self.weights: list[np.ndarray] = []
        lessons = self

        class Student(distilled.HistGradientBoostingClassifier):
            def fit(self, features: np.ndarray, labels: np.ndarray, sample_weight: np.ndarray) -> Any:
                lessons.students.append(self)
                lessons.labels.append(labels)
                lessons.weights.append(sample_weight)
                return super().fit(features, labels, sample_weight=sample_weight)

        monkeypatch.setattr(distilled, "HistGradientBoostingClassifier", Student)


def test_a_quarter_of_the_first_sample_is_never_learnt(question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a budget of 100, 40 are asked first and 10 of them compared only; three rounds of 20 are all learnt."""
    lessons = Lessons(monkeypatch)
    facts = distilled_judge(RuleEngine(), max_llm_pairs=100, sure=0.5, seed=3).judge(question).facts
    assert [len(labels) for labels in lessons.labels] == [2 * 30, 2 * 50, 2 * 70, 2 * 90]
    assert (facts["llm_pairs"], facts["agreement_pairs"]) == (100, 10)
    assert {student.random_state for student in lessons.students} == {3}


def test_a_pair_is_learnt_as_both_answers_by_the_llms_probability(
    question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive with .9 and negative with .1, or the reverse."""
    lessons = Lessons(monkeypatch)
    distilled_judge(RuleEngine(), max_llm_pairs=50).judge(question)
    labels, weights = lessons.labels[0], lessons.weights[0]
    half = len(labels) // 2
    assert (labels[:half] == 1).all() and (labels[half:] == 0).all()
    assert weights[:half] + weights[half:] == pytest.approx(1)
    assert set(weights[:half].round(6).tolist()) == {0.1, 0.9}


class Certain(RuleEngine):
    """Gives labels without a doubt."""

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        for position, reply in super().answer(requests):
            certain = tuple(float(round(share)) for share in reply.probabilities or ())
            yield position, replace(reply, probabilities=certain)


def test_an_llm_without_a_doubt_is_learnt_with_a_small_one(question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    lessons = Lessons(monkeypatch)
    verdicts = distilled_judge(Certain(), max_llm_pairs=50).judge(question)
    assert set(lessons.weights[0].round(6).tolist()) == {0.02, 0.98}
    assert {0.0, 1.0} <= set(verdicts.probability.tolist()), "what the LLM said stays as it said it"


def test_rounds_ask_what_the_student_before_is_least_sure_of(
    question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons, engine = Lessons(monkeypatch), RuleEngine()
    judge = distilled_judge(engine, max_llm_pairs=100, sure=0.5)
    judge.judge(question)
    pair = {key.tobytes().hex(): place for place, key in enumerate(judge.llm.plan(question).keys)}
    asked = [pair[request] for request in engine.asked]
    features = pair_features(question)
    for student, before in zip(lessons.students, (40, 60, 80), strict=False):
        doubt = -abs(student.predict_proba(features)[:, 1] - 0.5)
        now, later = asked[before : before + 20], np.setdiff1d(np.arange(len(features)), asked[: before + 20])
        assert len(now) == 20 and doubt[now].min() >= doubt[later].max()
