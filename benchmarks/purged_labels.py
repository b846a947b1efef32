"""Writes a control for the published LLM labels: every published candidate positive, purged as those labels were.

    python benchmarks/purged_labels.py OUTPUT [--sports FOLDER]

The authors removed the positive labels that occur among validation or test pairs. So a model that learns from them is
told, by what is missing, where the answers are not to be put; nothing that is compared with it may be spared that.
This file is as contaminated, and is of no other use.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from sports_question import add_argument, token_pairs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    add_argument(parser)
    arguments = parser.parse_args()
    candidates = token_pairs(arguments.sports / "candidates.tsv")
    answers = pd.concat(token_pairs(arguments.sports / f"sports.{part}.inter") for part in ("valid", "test"))
    positive = candidates.merge(answers.drop_duplicates(), how="left", indicator=True)
    positive = positive.loc[positive["_merge"] == "left_only", ["user_id", "item_id"]]
    positive.assign(label="positive").to_csv(arguments.output, sep="\t", index=False)
    print(f"{len(candidates) - len(positive)} of {len(candidates)} candidates left out: {arguments.output}")


if __name__ == "__main__":
    main()
