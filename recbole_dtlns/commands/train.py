"""`recbole-dtlns train`."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_dtlns.commands.command import Command, run_arguments


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.bridge.runner import run_recbole_dtlns

    print(_result_table(run_recbole_dtlns(**run_arguments(given))))
    return 0


def _result_table(result: dict[str, Any]) -> str:
    """The metrics, a line each; every line of a leaking run says so, that none can be taken for a result."""
    valid, test = result["best_valid_result"] or {}, result["test_result"] or {}
    mark = "LEAKING" if result["leaking"] else ""
    rows = [("metric", "valid", "test"), *((name, str(valid.get(name, "-")), str(test[name])) for name in test)]
    first, second, third = (
        max(least, *map(len, column)) for least, column in zip((20, 8, 8), zip(*rows, strict=True), strict=True)
    )
    lines = [f"{name:<{first}} {valid:<{second}} {test:<{third}} {mark}".rstrip() for name, valid, test in rows]
    return "\n".join([*lines, f"run folder: {result['run_folder']}"])


COMMAND = Command("prepare, train and evaluate one model", _run)
