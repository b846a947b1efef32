"""Servers that fail in every way at once: no wrong verdict, no key in any output, and the next run gets the rest."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hostile_replies import FINAL, KEY, PASSING, files_with_key, good
from llm_judges import llm_judge
from questions import random_question
from seeds import seeds

from recbole_dtlns.conformance.faulty_server import end_of_requests
from recbole_dtlns.conformance.raw_server import RawServer
from recbole_dtlns.errors import DTLNSError
from recbole_dtlns.judges.contract import Label, Verdicts
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.llm.openai_engine import OpenAIEngine

QUESTION = random_question(n_users=12)


def judge(server: RawServer, store: str, **reach: Any) -> LLMJudge:
    reach = {"timeout_seconds": 60.0, "retries": 1, "concurrency": 4, "api_key_env": "CANARY_KEY", **reach}
    engine = OpenAIEngine(model="a-model", base_url=server.url, **reach)
    return llm_judge(engine, "pair", store, slice=16, max_abstain_rate=1.0, reask_abstained=True)


@pytest.fixture(autouse=True)
def requests_end(nothing_left_open: None) -> Iterator[None]:
    yield
    end_of_requests()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("CANARY_KEY", KEY)
    caplog.set_level(logging.DEBUG)


@pytest.fixture
def truth() -> Verdicts:
    """What a server that never fails says."""
    with RawServer(lambda request: [good(request)]) as server:
        found = judge(server, "truth").judge(QUESTION)
    assert min(found.counts()["positive"], found.counts()["negative"]) > 10
    return found


@pytest.mark.parametrize("seed", seeds(3, 40))
def test_a_server_that_fails_in_every_way_changes_no_verdict(
    seed: int, truth: Verdicts, caplog: pytest.LogCaptureFixture
) -> None:
    random = Random(seed)
    told = [*random.sample(sorted(PASSING), 4), *([random.choice(sorted(FINAL))] if random.random() < 0.3 else [])]
    faults = {**PASSING, **FINAL}

    def failing(request: str) -> Iterable[bytes]:
        if random.random() < 0.5:
            return [good(request)]
        return faults[random.choice(told)](request, random)

    with RawServer(failing, pause=0.001) as server:
        try:
            found = judge(server, "store", timeout_seconds=0.5).judge(QUESTION)
            shown = str(found)
            answered = found.label != Label.ABSTAIN
            np.testing.assert_array_equal(found.label[answered], truth.label[answered])
        except DTLNSError as error:
            shown = "".join(traceback.format_exception(error))
    assert KEY not in shown and KEY not in caplog.text
    assert files_with_key(Path()) == []
    with RawServer(lambda request: [good(request)]) as server:
        found = judge(server, "store").judge(QUESTION)
    np.testing.assert_array_equal(found.label, truth.label)
