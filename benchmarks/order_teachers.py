"""Teachers that know the order of histories beside those that know sets of items, alone, on Amazon Beauty.

    python benchmarks/order_teachers.py [--beauty FOLDER]

FOLDER holds `beauty.inter`, whose `timestamp` is the place in a user's sequence. The last item of every user is the
test, the one before it validation. Every teacher is fitted on train with several strengths, and the one of the highest
NDCG@10 on validation is fitted again on train and validation, with which test is read, once. All items are ranked but
those that the teacher was fitted on; at 10, recall with one item to find is the published hit rate.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from reporting import machine, table, write_results

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Observed
from recbole_dtlns.data.pair_table import positions
from recbole_dtlns.evaluation.rankings import Rankings
from recbole_dtlns.teachers.closed_form import EASE
from recbole_dtlns.teachers.contract import Teacher, top_candidates
from recbole_dtlns.teachers.markov_chain import MarkovChain
from recbole_dtlns.teachers.neighbour_ridge import NeighbourRidge
from recbole_dtlns.teachers.transition_ridge import TransitionRidge

BEAUTY = Path(__file__).resolve().parents[2] / "shared" / "data" / "beauty"
DEPTH = 20
METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
TRIED: dict[str, tuple[Callable[..., Teacher], list[dict[str, Any]]]] = {
    "NeighbourRidge": (NeighbourRidge, [{"reg": reg} for reg in (20.0, 50.0, 200.0)]),
    "EASE": (EASE, [{"reg": reg, "precision": "single"} for reg in (100.0, 300.0)]),
    "TransitionRidge": (
        TransitionRidge,
        [{"reg": reg, "decay": decay} for reg in (30.0, 100.0, 300.0) for decay in (0.6, 0.8, 1.0)],
    ),
    "MarkovChain": (
        MarkovChain,
        [{"power": power, "decay": decay} for power in (0.5, 1.0) for decay in (0.6, 0.8, 1.0)],
    ),
}


def read(file: Path) -> pd.DataFrame:
    """User and item tokens of every row, its time, and how many rows of the user come after it."""
    rows = pd.read_csv(file, sep="\t", dtype=str).rename(columns=lambda name: name.partition(":")[0])
    rows = rows.assign(time=rows["timestamp"].astype(float)).sort_values(["user_id", "time"], kind="stable")
    return rows.assign(age=rows.groupby("user_id").cumcount(ascending=False))


def measured(teacher: Teacher, rows: pd.DataFrame, target: int) -> dict[str, float]:
    """The teacher fitted on all before the target, and asked for it; an item that it does not know is not found."""
    known = rows[rows["age"] > target]
    users, items = (known[name].to_numpy(str) for name in ("user_id", "item_id"))
    train = TrainInteractions.from_tokens(users, items, known["time"].to_numpy())
    clock = time.perf_counter()
    fitted = teacher.fit(train)
    seconds = time.perf_counter() - clock
    found = top_candidates(fitted, train, DEPTH)
    lists = np.full((train.n_users, DEPTH), -1)
    lists[found.users, found.ranks] = found.items
    last = rows[rows["age"] == target]
    users, items = positions(train.user_tokens, last["user_id"]), positions(train.item_tokens, last["item_id"])
    wanted = Observed.of(users, np.where(items < 0, train.n_items, items))
    rankings = Rankings(np.arange(train.n_users), lists, np.zeros(lists.shape, dtype=np.float32))
    values = rankings.metrics(wanted, ["recall", "ndcg"], [10, DEPTH])
    return {metric: float(np.nanmean(values[metric])) for metric in METRICS} | {"seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beauty", type=Path, default=BEAUTY)
    rows = read(parser.parse_args().beauty / "beauty.inter")
    validation: dict[str, list[dict[str, Any]]] = {}
    test: dict[str, dict[str, Any]] = {}
    for name, (make, tried) in TRIED.items():
        validation[name] = [{"settings": settings} | measured(make(**settings), rows, 1) for settings in tried]
        best = max(validation[name], key=lambda one: one["ndcg@10"])["settings"]
        test[name] = {"settings": best} | measured(make(**best), rows, 0)
    lines = [
        [part, name, ", ".join(f"{key} {value}" for key, value in one["settings"].items() if key != "precision")]
        + [f"{one[metric]:.4f}" for metric in METRICS]
        for part, name, one in [
            *(("validation", name, one) for name, found in validation.items() for one in found),
            *(("test", name, one) for name, one in test.items()),
        ]
    ]
    results = {"machine": machine(torch.get_num_threads()), "validation": validation, "test": test}
    write_results("order_teachers", results, table(["part", "teacher", "settings", *METRICS], lines))


if __name__ == "__main__":
    main()
