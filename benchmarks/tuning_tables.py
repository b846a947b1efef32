"""Tables of what was tried on validation before docs/evidence measured it on test.

    python benchmarks/tuning_tables.py

Reads the runs' validation metrics in docs/evidence/tuning, and writes a table for each file, the best first.
"""

from __future__ import annotations

import json
from pathlib import Path

from reporting import table

TUNING = Path(__file__).resolve().parents[1] / "docs" / "evidence" / "tuning"
COLUMNS = ("recall@20", "ndcg@20")


def tuning_table(file: Path) -> str:
    """The runs of one file, by Recall@20 on validation."""
    runs = json.loads(file.read_text())
    rows = [
        [run["arm"], *(f"{run['valid'][column]:.4f}" for column in COLUMNS), str(run["best_epoch"])]
        for run in sorted(runs, key=lambda run: -run["valid"]["recall@20"])
    ]
    headers = ["arm", *(f"{column} on validation" for column in COLUMNS), "best epoch"]
    return table(headers, rows) + "\n"


if __name__ == "__main__":
    for file in sorted(TUNING.glob("*.json")):
        file.with_suffix(".md").write_text(tuning_table(file))
