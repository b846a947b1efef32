"""The stages before training: teacher, candidates, trees, verdicts, relabelling, each kept by what went into it."""

from recbole_dtlns.preparation.pipeline import (
    Preparation,
    Recalled,
    ask,
    judge_question,
    keys_read,
    prepare,
    prepare_on,
    recall,
    rehearse,
    stage_versions,
    workbench,
)

__all__ = [
    "Preparation",
    "Recalled",
    "ask",
    "judge_question",
    "keys_read",
    "prepare",
    "prepare_on",
    "recall",
    "rehearse",
    "stage_versions",
    "workbench",
]
