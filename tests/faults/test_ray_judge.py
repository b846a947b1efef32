"""The same hostile servers, asked by actors on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hostile_replies import KEY, PASSING, files_with_key, good
from llm_judges import llm_judge
from questions import random_question

from recbole_dtlns.conformance.raw_server import RawServer
from recbole_dtlns.judges.contract import Label
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.llm.ray_engine import RayEngine

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings are not ours
QUESTION = random_question(n_users=40)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Its processes have the key in their environment."""
    ray = pytest.importorskip("ray", reason="Ray is not installed; make test-ray installs it in .venv-llm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY_KEY", KEY)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def judge(servers: list[RawServer], store: str, **reach: Any) -> LLMJudge:
    reach = {"retries": 1, "concurrency": 4, "api_key_env": "CANARY_KEY", **reach}
    engine = RayEngine(model="a-model", ray_urls=[each.url for each in servers], **reach)
    return llm_judge(engine, "pair", store, max_abstain_rate=1.0, reask_abstained=True)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("seed", range(2))
def test_a_fleet_that_fails_in_every_way_changes_no_verdict(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "recbole_dtlns")
    random = Random(seed)
    told = random.sample(sorted(PASSING), 5)

    def failing(request: str) -> Iterable[bytes]:
        return [good(request)] if random.random() < 0.5 else PASSING[random.choice(told)](request, random)

    with RawServer(lambda request: [good(request)]) as sound, RawServer(failing, pause=0.001) as broken:
        truth = judge([sound], "truth").judge(QUESTION)
        found = judge([sound, broken], "store", timeout_seconds=1.0).judge(QUESTION)
        answered = found.label != Label.ABSTAIN
        assert answered.any()
        np.testing.assert_array_equal(found.label[answered], truth.label[answered])
        assert KEY not in str(found) and KEY not in caplog.text
        assert files_with_key(Path()) == []
        np.testing.assert_array_equal(judge([sound], "store").judge(QUESTION).label, truth.label)
