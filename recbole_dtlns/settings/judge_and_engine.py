"""An LLM judge and what brings its requests to the model have a key each; once they shared one, which still works."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from recbole_dtlns.components import PREFIX

logger = logging.getLogger("recbole_dtlns")

_JUDGE, _ENGINE, _LABELS = f"{PREFIX}judge", f"{PREFIX}engine", f"{PREFIX}judge_labels"
_LEARNT_FROM = f"{PREFIX}judge_llm"  # once named the judge that `distilled` learns from
_ONCE_JUDGES = ("openai", "vllm", "transformers", "ray")
_DEFAULT = "openai"


def engine_apart(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same configuration, or part of one, with judge and engine apart; a warning names the new keys.

    Args:
        given: flat keys with `dtlns_`, of all sources together: what an old key means depends on others.
    """
    found = {key: value for key, value in given.items() if key != _LEARNT_FROM}
    learnt_from = given.get(_LEARNT_FROM)
    if learnt_from is not None and (learnt_from != _DEFAULT or given.get(_JUDGE) == "distilled"):
        found[_ENGINE] = learnt_from
        logger.warning("%s is now called %s: write %s: %s", _LEARNT_FROM, _ENGINE, _ENGINE, learnt_from)
    if _JUDGE in given:
        found |= {f"{PREFIX}{key}": value for key, value in _apart(given[_JUDGE], given.get(_LABELS)).items()}
    return found


def judge_apart(name: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """The flat keys, without `dtlns_`, of a run with this judge, whose name may be one of before.

    Args:
        name: of the judge.
        flat: keys of the run.
    """
    return {**flat, "judge": name, **_apart(name, flat.get("judge_labels"))}


def _apart(judge: Any, labels: Any) -> dict[str, str]:
    replies = judge == "recorded" and str(labels).endswith(".jsonl")
    if judge not in _ONCE_JUDGES and not replies:
        return {}
    of = " of a .jsonl file" if replies else ""
    logger.warning("%s: %s%s is now %s: llm with %s: %s", _JUDGE, judge, of, _JUDGE, _ENGINE, judge)
    return {"judge": "llm", "engine": judge}
