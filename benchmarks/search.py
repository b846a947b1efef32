"""What stopping bad trials early saves, and what a trial costs beside its training.

The same 16 configurations of BPR with `dtlns` on ml-100k, drawn once, are searched with ASHA and without; compared are
epochs trained, the best validation score, and test. The overhead is the time of trials that train for one epoch, less
that epoch, one trial at a time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from reporting import machine, table, write_results

from recbole_dtlns import tune

KEYS: dict[str, Any] = {
    "epochs": 60,
    "stopping_step": 10,
    "eval_batch_size": 400_000,
    "train_batch_size": 2048,
    "valid_metric": "NDCG@10",
    "metrics": ["Recall", "NDCG"],
    "topk": [10],
}
SPACE = {
    "learning_rate": {"loguniform": [3e-4, 3e-2]},
    "embedding_size": {"choice": [16, 64, 128]},
    "dtlns_n_candidates": {"choice": [2, 8, 32]},
    "dtlns_alpha_semantic": {"uniform": [0.0, 0.5]},
}


def search(name: str, **given: Any) -> tuple[Any, float]:
    keys = {**KEYS, **given.pop("keys", {})}
    started = time.perf_counter()
    found = tune("BPR", "ml-100k", config_dict=keys, space=SPACE, storage=Path.cwd(), name=name, cpus=1, **given)
    return found, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=16)
    given = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(1)}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # RecBole writes log/ and log_tensorboard/ where it runs
        os.environ["RECBOLE_DTLNS_CACHE"] = str(Path(folder) / "cache")
        for scheduler in ("none", "asha"):
            found, seconds = search(scheduler, samples=given.trials, scheduler=scheduler)
            one = {
                "epochs": int(found.table["epoch"].sum()),
                "seconds": seconds,
                "best_valid": found.best_valid_score,
                "best": found.best,
                "test": found.test_result,
            }
            results[scheduler] = one
            share = one["epochs"] / results["none"]["epochs"]
            cells = [f"{one['epochs']} ({share:.0%})", f"{seconds:.0f}", f"{one['best_valid']:.4f}"]
            rows.append([scheduler, *cells, f"{one['test']['ndcg@10']:.4f}"])
        few, many = (
            search(f"start{count}", samples=count, scheduler="none", concurrent=1, keys={"epochs": 1})[1]
            for count in (1, 5)
        )
        trial = (many - few) / 4
        results |= {"seconds_per_short_trial": trial, "seconds_of_search": few - trial}
        os.chdir("/")
    text = (
        f"A further trial of one epoch takes {trial:.1f} s: start-up, data, that epoch and its evaluation. The search "
        f"itself takes {few - trial:.1f} s to start and end."
    )
    headers = ["scheduler", "epochs trained", "seconds", "best NDCG@10, validation", "its NDCG@10, test"]
    write_results("search", results, f"{table(headers, rows)}\n\n{text}")


if __name__ == "__main__":
    main()
