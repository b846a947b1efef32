"""Judge and engine have a key each; configurations that name both by one key mean what they meant, and are told so."""

from __future__ import annotations

from typing import Any

import pytest

from recbole_dtlns.judges.distilled import DistilledJudge
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.settings.judge_and_engine import engine_apart, judge_apart
from recbole_dtlns.settings.settings import DTLNSSettings


@pytest.mark.parametrize(
    ("given", "now", "told"),
    [
        ({"judge": "vllm"}, {"judge": "llm", "engine": "vllm"}, "dtlns_judge: llm with dtlns_engine: vllm"),
        ({"judge": "ray", "judge_llm": "openai"}, {"judge": "llm", "engine": "ray"}, "dtlns_engine: ray"),
        (
            {"judge": "distilled", "judge_llm": "transformers"},
            {"judge": "distilled", "engine": "transformers"},
            "write dtlns_engine: transformers",
        ),
        ({"judge_llm": "vllm"}, {"engine": "vllm"}, "write dtlns_engine: vllm"),
        (
            {"judge": "recorded", "judge_labels": "replies.jsonl"},
            {"judge": "llm", "engine": "recorded", "judge_labels": "replies.jsonl"},
            "recorded of a .jsonl file is now dtlns_judge: llm with dtlns_engine: recorded",
        ),
        ({"judge": "recorded", "judge_labels": "mine.tsv"}, {"judge": "recorded", "judge_labels": "mine.tsv"}, ""),
        ({"judge": "structural", "judge_llm": "openai"}, {"judge": "structural"}, ""),  # in every run folder of 0.1
        ({"judge": "llm", "engine": "ray"}, {"judge": "llm", "engine": "ray"}, ""),
    ],
)
def test_old_values_mean_what_they_meant(
    given: dict[str, Any], now: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = engine_apart({f"dtlns_{key}": value for key, value in given.items()})
    assert found == {f"dtlns_{key}": value for key, value in now.items()}
    assert told in caplog.text if told else not caplog.text


def test_a_run_with_old_values_has_the_judge_that_it_had() -> None:
    old = DTLNSSettings.from_config({"dtlns_judge": "vllm", "dtlns_judge_model": "org/model"})
    judge = JUDGES.make(old.judge, old.flat)
    assert isinstance(judge, LLMJudge)
    assert judge.inputs()["judge"] == "vllm"
    old = DTLNSSettings.from_config(
        {"dtlns_judge": "distilled", "dtlns_judge_llm": "transformers", "dtlns_judge_model": "org/model"}
    )
    learnt = JUDGES.make(old.judge, old.flat)
    assert isinstance(learnt, DistilledJudge)
    assert learnt.llm.engine.name == "transformers"


def test_judges_of_an_audit_may_have_old_names_too() -> None:
    flat = DTLNSSettings.from_config({"dtlns_judge_model": "org/model"}).flat
    asked = judge_apart("vllm", flat)
    assert (asked["judge"], asked["engine"]) == ("llm", "vllm")
    assert judge_apart("structural", flat) == {**flat, "judge": "structural"}
