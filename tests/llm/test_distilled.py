"""The distilled judge stays within its budget and learns what the LLM would have said."""

from __future__ import annotations

import numpy as np
import pytest
from questions import random_question
from rule_engine import RuleEngine

from recbole_dtlns.errors import ConfigError, JudgeError
from recbole_dtlns.judge.contract import Label, Question
from recbole_dtlns.judge.distilled import DistilledJudge
from recbole_dtlns.judge.structural import StructuralJudge
from recbole_dtlns.llm.judge import Limits, LLMJudge
from recbole_dtlns.llm.prompt import Prompt
from recbole_dtlns.tree.item_tree import ItemTree


def llm(engine: RuleEngine, folder: str = "verdicts", **limits: object) -> LLMJudge:
    return LLMJudge(engine, Prompt.load("pair"), folder, limits=Limits(**limits))


@pytest.fixture(scope="module")
def question() -> Question:
    return random_question(n_users=150, n_items=300, history=6, candidates=20)


def test_it_learns_the_rule_from_a_tenth_of_the_pairs(question: Question) -> None:
    everything = llm(RuleEngine(), "everything").judge(question)
    engine = RuleEngine()
    verdicts = DistilledJudge(llm(engine), max_llm_pairs=300).judge(question)
    assert len(engine.asked) <= 300 < len(question.candidates) / 9
    assert (verdicts.label == everything.label).mean() > 0.97
    assert verdicts.facts["llm_pairs"] <= 300
    assert verdicts.facts["llm_pairs"] + verdicts.facts["student_pairs"] == len(question.candidates)
    assert verdicts.facts["agreement"] > 0.9 and verdicts.facts["agreement_pairs"] > 0


def test_the_llms_answer_stands_where_it_was_asked(question: Question) -> None:
    judge = llm(RuleEngine(tokens=1))
    verdicts = DistilledJudge(judge, max_llm_pairs=200).judge(question)
    place = judge.store().read().find(judge.plan(question).keys)
    rows = judge.store().read().rows[place[place >= 0]]
    same = verdicts.probability[place >= 0] == rows["probability"]
    assert same.sum() >= verdicts.facts["llm_pairs"] == 200


def test_a_budget_of_tokens_is_kept(question: Question) -> None:
    engine = RuleEngine(tokens=10)
    verdicts = DistilledJudge(llm(engine), max_llm_pairs=500, max_tokens_total=1000).judge(question)
    assert verdicts.facts["tokens_of_all"] == 10 * len(engine.asked) <= 1000
    assert verdicts.counts()["abstain"] == 0


def test_sure_pairs_are_not_asked(question: Question) -> None:
    """A student that may be unsure of nothing leaves the rest of the budget unspent."""
    engine = RuleEngine()
    DistilledJudge(llm(engine), max_llm_pairs=300, sure=0.0).judge(question)
    assert len(engine.asked) <= 300 * 0.4


def test_the_engine_is_started_once_and_a_second_run_asks_nothing(question: Question) -> None:
    engine = RuleEngine()
    judge = DistilledJudge(llm(engine), max_llm_pairs=200)
    first = judge.judge(question)
    assert engine.starts == 1
    asked = len(engine.asked)
    second = judge.judge(question)
    assert len(engine.asked) == asked
    assert np.array_equal(first.probability, second.probability) and np.array_equal(first.label, second.label)


def test_a_budget_for_everything_is_the_llm_itself(question: Question) -> None:
    small = question.about(np.arange(100))
    verdicts = DistilledJudge(llm(RuleEngine()), max_llm_pairs=10_000, sure=0.5).judge(small)
    assert np.array_equal(verdicts.label, llm(RuleEngine(), "all").judge(small).label)
    assert verdicts.facts["student_pairs"] == 0


def test_pairs_without_codes_abstain(question: Question) -> None:
    nothing = ItemTree(np.full((question.train.n_items, 1), -1, dtype=np.int16))
    half = question.structure.digits.copy()
    half[::2] = -1
    partial = Question(question.train, question.candidates, ItemTree(half), nothing)
    verdicts = DistilledJudge(llm(RuleEngine(least=1)), max_llm_pairs=100).judge(partial)
    expected = StructuralJudge(0.5).judge(partial)
    assert np.array_equal(verdicts.label == Label.ABSTAIN, expected.label == Label.ABSTAIN)
    assert np.array_equal(np.isnan(verdicts.probability), verdicts.label == Label.ABSTAIN)


def test_an_llm_that_never_answers_is_an_error(question: Question) -> None:
    with pytest.raises(JudgeError, match="answered none"):
        DistilledJudge(llm(RuleEngine(abstain_every=1), max_abstain_rate=1.0), max_llm_pairs=50).judge(question)


def test_only_an_llm_can_be_learnt_from() -> None:
    settings = type("Settings", (), {"judge_llm": "structural"})
    with pytest.raises(ConfigError, match="not 'structural'"):
        DistilledJudge.from_settings(StructuralJudge(0.5), settings)
