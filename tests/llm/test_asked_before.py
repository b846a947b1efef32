"""What the code of 0.1 asked, stored and exported is found again: golden files that it wrote (`asked_before/`)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llm_judges import llm_judge
from questions import random_question

from recbole_dtlns.conformance.rule_engine import RuleEngine
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.language_model.requests import Inquiry
from recbole_dtlns.llm.batch_files import RecordedReplies, write_requests
from recbole_dtlns.llm.openai_engine import request_body

BEFORE = Path(__file__).parent / "asked_before"
FOUND = json.loads((BEFORE / "found.json").read_text())
QUESTION = random_question(n_users=3, candidates=3)
shapes = pytest.mark.parametrize("shape", ["pair", "user"])


def judge(engine: Any, shape: str) -> LLMJudge:
    return llm_judge(engine, shape, ".", threshold=0.75, max_history=4, max_abstain_rate=1.0)


def inquiries(shape: str) -> list[Inquiry]:
    plan = judge(RuleEngine(model="rule-of-0.1"), shape).plan(QUESTION)
    return list(plan.inquiries(plan.missing(np.zeros(len(QUESTION.candidates), dtype=bool))))


@shapes
def test_stored_verdicts_are_found_and_nothing_is_asked(shape: str) -> None:
    """Keys, folder, shards and reasons are those of 0.1, and so is what the verdicts are kept under as an artefact."""
    shutil.copytree(BEFORE / "llm-verdicts", "llm-verdicts")
    engine = RuleEngine(model="rule-of-0.1")
    asked, expected = judge(engine, shape), FOUND["questions"][shape]
    verdicts = asked.judge(QUESTION)
    assert engine.asked == []
    assert [None if np.isnan(each) else each for each in verdicts.probability.tolist()] == expected["probability"]
    assert verdicts.label.tolist() == expected["label"]
    assert verdicts.abstained == expected["abstained"]
    assert asked.inputs() == expected["inputs"]
    assert asked.store().folder.name == expected["folder"]
    assert [key.tobytes().hex() for key in asked.plan(QUESTION).keys] == expected["keys"]


@shapes
def test_shards_are_written_as_before(shape: str) -> None:
    """Byte by byte: a set may be shared by people with both versions."""
    judge(RuleEngine(model="rule-of-0.1", abstain_every=4), shape).judge(QUESTION)
    (before,) = (BEFORE / "llm-verdicts" / FOUND["questions"][shape]["folder"]).glob("*.verdicts")
    (now,) = Path("llm-verdicts").rglob("*.verdicts")
    assert now.read_bytes() == before.read_bytes()


@shapes
def test_requests_are_exported_as_before(shape: str) -> None:
    requests = [inquiry.request() for inquiry in inquiries(shape)]
    assert [request.id for request in requests] == FOUND["questions"][shape]["requests"]
    write_requests(Path("requests.jsonl"), requests, "some-model", {"seed": 7})
    assert Path("requests.jsonl").read_bytes() == (BEFORE / f"{shape}.jsonl").read_bytes()


@shapes
def test_replies_to_requests_exported_before_are_read(shape: str) -> None:
    """A batch that was under way while the package was renewed."""
    answer = {"pair": "yes", "user": '{"answer": [2]}'}[shape]
    with Path("replies.jsonl").open("w") as file:
        for line in map(json.loads, (BEFORE / f"{shape}.jsonl").read_text().splitlines()):
            body = {"choices": [{"message": {"content": answer}}]}
            file.write(json.dumps({"custom_id": line["custom_id"], "response": {"body": body}}) + "\n")
    found = judge(RecordedReplies(labels="replies.jsonl", model="rule-of-0.1"), shape).judge(QUESTION)
    assert found.label.tolist() == {"pair": [1] * 9, "user": [0, 1, 0] * 3}[shape]


@pytest.mark.parametrize("case", FOUND["bodies"], ids=lambda case: f"{case['shape']}, {case['mode']}")
def test_servers_are_sent_what_they_were_sent_before(case: dict[str, Any]) -> None:
    """The same bytes in every mode, so that a server's cache of requests holds."""
    body = request_body("a-model", inquiries(case["shape"])[1].request(), case["mode"], {})
    assert json.dumps(body) == json.dumps(case["body"])
