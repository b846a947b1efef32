"""A dry run says what asking would cost, and sends nothing unless told to."""

from __future__ import annotations

import numpy as np
from llm_judges import llm_judge
from questions import random_question

from recbole_dtlns.conformance.rule_engine import RuleEngine
from recbole_dtlns.judges.language_model.estimate import estimate
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.llm.cost import shared_beginning

QUESTION = random_question(n_users=20, candidates=5)


def judge(engine: RuleEngine, shape: str = "pair") -> LLMJudge:
    return llm_judge(engine, shape, "verdicts")


def encoded(asked: LLMJudge) -> list[list[int]]:
    plan = asked.plan(QUESTION)
    encode = asked.engine.encoder()
    assert encode
    return [encode(inquiry.request()) for inquiry in plan.inquiries(plan.missing(np.zeros(100, dtype=bool)))]


def test_requests_and_tokens_are_counted_exactly_when_they_are_few() -> None:
    engine = RuleEngine()
    found = estimate(judge(engine), QUESTION)
    prompts = encoded(judge(engine))
    assert found.requests == found.sampled == len(prompts)
    assert found.pairs == 100 and found.answered == found.unanswerable == 0
    assert found.tokens == sum(map(len, prompts))
    shared = [shared_beginning(a, b) for a, b in zip([[], *prompts], prompts, strict=False)]
    assert found.new_tokens == found.tokens - sum(shared)
    assert found.seconds is None and engine.asked == []
    assert "time: unknown" in found.text()


def test_what_two_prompts_share_is_their_beginning() -> None:
    assert [shared_beginning([1, 2, 3], other) for other in ([1, 2, 4], [1, 2], [2], [], [1, 2, 3, 4])] == [
        2,
        2,
        0,
        0,
        3,
    ]


def test_tokens_of_many_requests_are_measured_on_some() -> None:
    many = random_question(n_users=600, candidates=8, n_items=400)
    found = estimate(judge(RuleEngine()), many)
    everything = judge(RuleEngine())
    plan = everything.plan(many)
    encode = everything.engine.encoder()
    assert encode
    prompts = [encode(inquiry.request()) for inquiry in plan.inquiries(plan.missing(np.zeros(4800, dtype=bool)))]
    assert found.sampled < found.requests == len(prompts)
    assert found.tokens is not None and abs(found.tokens / sum(map(len, prompts)) - 1) < 0.01
    shared = sum(shared_beginning(a, b) for a, b in zip([[], *prompts], prompts, strict=False))
    assert found.new_tokens is not None
    assert abs(found.new_tokens / (sum(map(len, prompts)) - shared) - 1) < 0.1


def test_a_probe_asks_as_many_as_told_and_keeps_the_answers() -> None:
    engine = RuleEngine()
    found = estimate(judge(engine), QUESTION, probe=10)
    assert len(engine.asked) == 11, "one to start the engine, ten to measure"
    assert found.probed == 10 and found.seconds is not None and found.seconds >= 0
    assert estimate(judge(engine), QUESTION).answered >= 11


def test_one_request_per_user() -> None:
    assert estimate(judge(RuleEngine(), "user"), QUESTION).requests == 20


def test_three_examples_are_shown() -> None:
    found = estimate(judge(RuleEngine()), QUESTION)
    assert len(found.examples) == 3
    assert all(message["content"] in found.text() for example in found.examples for message in example)


def test_nothing_to_ask_costs_nothing() -> None:
    judge(RuleEngine()).judge(QUESTION)
    found = estimate(judge(RuleEngine()), QUESTION)
    assert found.requests == 0 and found.answered == 100
    assert "0 requests to make" in found.text()


def test_a_probe_of_whole_users_asks_what_the_run_will_ask() -> None:
    """A part of a user's candidates would be another prompt, and its answer of no use later."""
    engine = RuleEngine()
    found = estimate(judge(engine, "user"), QUESTION, probe=3)
    assert len(engine.asked) == 4 and found.requests == 20
    assert estimate(judge(engine, "user"), QUESTION).requests == 16
