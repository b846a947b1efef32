"""Intervals of the preset best's gains over its baselines, from the comparisons of docs/evidence that hold its tests.

    python benchmarks/gain_intervals.py

The users' values are not part of this repository, so the interval is that of the difference (95 %, bootstrap over
users, in comparison.json), divided by the baseline's mean; the chance in that mean itself is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "gain_intervals.md"
COMPARISONS = ("confirm", "bpr")
PUBLISHED = {"recall@20": 0.1064, "ndcg@20": 0.1912}  # the gains that were published, over their best baseline
Row = dict[str, Any]


def gains() -> str:
    """The table."""
    titles = [f"{metric} (published gain {gain:+.2%})" for metric, gain in PUBLISHED.items()]
    lines = [f"| gain of best | {' | '.join(titles)} |", "| --- | --- | --- |"]
    for name in COMPARISONS:
        content = json.loads((ROOT / "docs" / "evidence" / name / "comparison.json").read_text())
        rows = {row["arm"]: row for row in content["rows"]}
        best, baseline = rows.pop("best"), content["experiment"]["baseline"]
        for arm, row in rows.items():
            cells = [_gain(best, row, metric, arm == baseline) for metric in PUBLISHED]
            lines.append(f"| {best['model']} over {arm} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _gain(best: Row, other: Row, metric: str, tested: bool) -> str:
    """Intervals are there only where the two were compared user by user."""
    mean = other["test"][metric]["mean"]
    gain = best["test"][metric]["mean"] / mean - 1
    if not tested:
        return f"{gain:+.2%}, not tested"
    test = best["tests"][metric]
    return f"{gain:+.2%}, interval {test['low'] / mean:+.2%} to {test['high'] / mean:+.2%}"


if __name__ == "__main__":
    RESULT.write_text(gains())
    print(gains())
