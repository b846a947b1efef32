"""In which order the preset best's judge puts the teacher's candidates: better than the teacher's own?

    python benchmarks/judge_order.py [--sports FOLDER]

EASE's fifty best unobserved items of every user of the published Sports data, ranked by EASE and by `calibrated`, which
knows train pairs only; validation pairs are looked for.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
import torch
from reporting import machine, table, write_results
from sports_question import add_argument, sports_pairs

from recbole_dtlns.evaluation.rankings import Rankings
from recbole_dtlns.studies.judging import judge_candidates

DEPTH = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    add_argument(parser)
    folder = parser.parse_args().sports.resolve()
    keys = {
        "data_path": str(folder.parent),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
        "dtlns_preset": "rows",
    }
    judged = judge_candidates("LightGCN", folder.name, config_dict=keys)
    candidates = judged.question.candidates
    wanted = sports_pairs(folder, "valid", judged.question.train)
    pairs = pd.DataFrame({"user": candidates.users, "item": candidates.items})
    pairs = pairs.assign(teacher=-candidates.ranks, judge=judged.verdicts.probability)
    pairs = pairs[pairs["user"].isin(wanted.users)]
    results = {}
    for order in ("teacher", "judge"):
        best = pairs.sort_values(["user", order], ascending=[True, False], kind="stable").groupby("user").head(DEPTH)
        items = best["item"].to_numpy().reshape(-1, DEPTH)
        rankings = Rankings(best["user"].unique(), items, np.zeros(items.shape, dtype=np.float32))
        found = rankings.metrics(wanted, ["recall", "ndcg"], [DEPTH])
        results[order] = {name: float(values.mean()) for name, values in found.items()}
    rows = [[name, *(f"{value:.4f}" for value in found.values())] for name, found in results.items()]
    markdown = table(["order of EASE's fifty candidates", "recall@20 on validation", "ndcg@20 on validation"], rows)
    write_results("judge_order", {"machine": machine(torch.get_num_threads()), "validation": results}, markdown)


if __name__ == "__main__":
    main()
