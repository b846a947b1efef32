"""Of the test pairs of rare and of common items, which share each arm of the comparisons with item text found.

    python benchmarks/rare_items.py && python benchmarks/readme.py

Reads docs/evidence/rare_items.json, the `item_groups` of the runs of docs/evidence/text_*, and writes rare_items.md.
The groups are fifths of the test pairs, by the train pairs of their item; found is what stands among the first twenty.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from reporting import table

from recbole_dtlns.storage.whole_files import write_atomically

EVIDENCE = Path(__file__).resolve().parents[1] / "docs" / "evidence"
MODELS = {"text_mf_beauty": "matrix factorisation", "text_lightgcn_beauty": "LightGCN"}
ARMS = ("best", "best with text")


def rare_items_table() -> str:
    """Both arms of both comparisons, means over seeds, and how many times as much the second finds."""
    runs: list[dict[str, Any]] = json.loads((EVIDENCE / "rare_items.json").read_text())
    rows = []
    for comparison, model in MODELS.items():
        of_arms = [
            [run["item_groups"] for run in runs if (run["comparison"], run["arm"]) == (comparison, arm)] for arm in ARMS
        ]
        plain, with_text = (np.mean([[g["found"] for g in groups] for groups in seeds], axis=0) for seeds in of_arms)
        for group, of_plain, of_text in zip(of_arms[0][0], plain, with_text, strict=True):
            pairs = f"{group['least']} to {group['most']}"
            shares = [f"{100 * share:.2f} %" for share in (of_plain, of_text)]
            rows.append([model, pairs, str(group["pairs"]), *shares, f"{of_text / of_plain:.2f}"])
    return table(["model", "train pairs of the item", "test pairs", *ARMS, "ratio"], rows)


if __name__ == "__main__":
    write_atomically(EVIDENCE / "rare_items.md", f"{rare_items_table()}\n".encode())
