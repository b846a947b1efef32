"""Requests go out as files and replies come back, on another machine or in another week."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llm_judges import llm_judge
from questions import random_question

from recbole_dtlns.conformance.rule_engine import RuleEngine, overlap
from recbole_dtlns.errors import ConfigError, DataError, JudgeError
from recbole_dtlns.judges.contract import Label
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.llm.batch_files import RecordedReplies, write_requests

QUESTION = random_question(n_users=10, candidates=4)


def judge(shape: str = "pair", rate: float = 0.1, **options: Any) -> LLMJudge:
    engine = RecordedReplies(labels="replies.jsonl", model="some-model")
    return llm_judge(engine, shape, "verdicts", max_abstain_rate=rate, **options)


def export(asked: LLMJudge) -> list[dict[str, Any]]:
    plan = asked.plan(QUESTION)
    pending = plan.missing(asked.store().read().find(plan.keys) >= 0)
    requests = [inquiry.request() for inquiry in plan.inquiries(pending)]
    write_requests(Path("requests.jsonl"), requests, "some-model", {"seed": 7, "temperature": None})
    return [json.loads(line) for line in Path("requests.jsonl").read_text().splitlines()]


def write_replies(replies: list[dict[str, Any]]) -> None:
    Path("replies.jsonl").write_text("".join(json.dumps(reply) + "\n" for reply in replies))


def completion(request: dict[str, Any], content: str, logprobs: dict[str, float] | None = None) -> dict[str, Any]:
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": content}}
    if logprobs:
        top = [{"token": token, "logprob": value} for token, value in logprobs.items()]
        choice["logprobs"] = {"content": [{"token": content, "top_logprobs": top}]}
    body = {"choices": [choice], "usage": {"prompt_tokens": 90, "completion_tokens": 1}}
    return {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


def answers() -> dict[str, bool]:
    """What the prefix rule says, by request."""
    plan = judge().plan(QUESTION)
    requests = plan.inquiries(plan.missing(np.zeros(len(QUESTION.candidates), dtype=bool)))
    return {request.id: overlap(request.history, request.candidates[0]) >= 2 for request in requests}


def test_requests_are_what_a_batch_service_takes() -> None:
    lines = export(judge())
    assert [line["custom_id"] for line in lines] == list(answers())
    for line in lines:
        assert line["method"] == "POST" and line["url"] == "/v1/chat/completions"
        body = line["body"]
        assert body["model"] == "some-model" and body["logprobs"] is True and body["max_tokens"] == 1
        assert body["seed"] == 7 and "temperature" not in body
        assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_probabilities_come_back() -> None:
    truth = answers()
    write_replies(
        [
            completion(line, "yes", {"yes": -0.1 if truth[line["custom_id"]] else -3, "no": -1.0})
            for line in export(judge())
        ]
    )
    verdicts = judge().judge(QUESTION)
    expected = llm_judge(RuleEngine(), "pair", "rule").judge(QUESTION)
    assert np.array_equal(verdicts.label, expected.label)
    assert np.unique(verdicts.probability) == pytest.approx([1 / (1 + np.exp(2)), 1 / (1 + np.exp(-0.9))])
    assert export(judge()) == [], "what is answered is not exported again"
    Path("replies.jsonl").unlink()
    assert np.array_equal(judge().judge(QUESTION).label, expected.label), "the verdicts are kept"


@pytest.mark.parametrize("wrap", [str, lambda text: json.dumps({"answer": text})], ids=["text", "json"])
def test_plain_answers_come_back(wrap: Any) -> None:
    truth = answers()
    write_replies([completion(line, wrap("yes" if truth[line["custom_id"]] else "no")) for line in export(judge())])
    assert set(judge().judge(QUESTION).probability) == {0.0, 1.0}


def test_lists_of_a_users_positives_come_back() -> None:
    lines = export(judge("user"))
    assert len(lines) == 10
    write_replies([completion(line, json.dumps({"answer": [1, 3]})) for line in lines])
    verdicts = judge("user").judge(QUESTION)
    assert verdicts.label.tolist() == [1, 0, 1, 0] * 10


def test_failed_and_missing_replies_abstain_and_are_exported_again() -> None:
    lines = export(judge())
    replies = [completion(line, "no") for line in lines[2:]]
    failed = {"custom_id": lines[0]["custom_id"], "response": None, "error": {"code": "expired"}}
    write_replies([failed, *replies])
    verdicts = judge().judge(QUESTION)
    assert (verdicts.label == Label.ABSTAIN).sum() >= 2
    assert verdicts.abstained == {"not answered": int((verdicts.label == Label.ABSTAIN).sum())}
    assert [line["custom_id"] for line in export(judge())] == [lines[0]["custom_id"], lines[1]["custom_id"]]
    write_replies([failed, completion(lines[0], "yes"), completion(lines[1], "yes")])
    assert judge().judge(QUESTION).counts()["abstain"] == 0


def test_replies_of_another_data_set_stop_the_run() -> None:
    write_replies([completion({"custom_id": "0" * 32}, "no")])
    with pytest.raises(JudgeError, match="may be of another data set"):
        judge().judge(QUESTION)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{}\n", "line 1: not a batch reply"),
        ("\nnonsense\n", "line 2: not a batch reply"),
        ("", "holds no reply"),
        ("[1]", "line 1: not a batch reply"),
        ('{"custom_id": ["x"]}', "line 1: not a batch reply"),
        ('{"custom_id": "x", "response": [1]}', "line 1: not a batch reply"),
        ('{"custom_id": "x", "response": "no"}', "line 1: not a batch reply"),
        ("[" * 100_000, "line 1: not a batch reply"),
    ],
    ids=range(8),
)
def test_files_that_are_no_replies_are_refused(content: str, problem: str) -> None:
    Path("replies.jsonl").write_text(content)
    with pytest.raises(DataError, match=problem):
        judge().judge(QUESTION)


def test_replies_that_no_setting_names_are_missed() -> None:
    with pytest.raises(ConfigError, match="needs dtlns_judge_labels"):
        llm_judge(RecordedReplies(model="some-model")).judge(QUESTION)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"replies\.jsonl"):
        judge().judge(QUESTION)
