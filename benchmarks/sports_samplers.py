"""Recall@20 and NDCG@20 of LightGCN with each sampler on the published Sports split, under the clean protocol.

Settings: 3 layers, d 64, Adam 2e-3, batch 4096, squared L2 1e-4 on the embeddings, no relabelling; evaluated every 5
epochs, the epoch chosen on validation Recall@20, stopped after 5 evaluations without gain, test read once. One seed: a
difference of .003 is noise. Arms that are already in the results are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from reporting import RESULTS, machine, table, write_results

from recbole_dtlns import run_recbole_dtlns

SPORTS = Path(__file__).resolve().parents[2] / "shared" / "sports"
COMMON: dict[str, Any] = {
    "benchmark_filename": ["train", "valid", "test"],
    "load_col": {"inter": ["user_id", "item_id"]},
    "embedding_size": 64,
    "n_layers": 3,
    "reg_weight": 1e-4,
    "require_pow": True,
    "learning_rate": 2e-3,
    "train_batch_size": 4096,
    "eval_batch_size": 4_000_000,
    "epochs": 150,
    "eval_step": 5,
    "stopping_step": 5,
    "valid_metric": "Recall@20",
    "metrics": ["Recall", "NDCG"],
    "topk": [20],
    "show_progress": False,
    "dtlns_relabel_add": False,
    "dtlns_relabel_exclude": False,
}
ARMS: dict[str, dict[str, Any]] = {
    "rns": {},
    "dns": {},
    "mixgcf": {},
    "dtlns": {},
    "dtlns, tree pool": {"dtlns_sampler": "dtlns", "dtlns_pool": "tree"},
    "dtlns, mixing": {"dtlns_sampler": "dtlns", "dtlns_mixing": True},
    "dns_mn": {},
    "ahns": {"dtlns_n_candidates": 32},
    "dens": {"dtlns_n_candidates": 6},
    "popularity": {},
    "srns": {"dtlns_n_candidates": 64},
}


def run_arm(name: str, keys: dict[str, Any], folder: str) -> dict[str, Any]:
    """Metrics, the epoch of the best validation score, and how often the trees changed a choice."""
    data = Path(folder) / "data"
    if not data.exists():
        data.mkdir()
        (data / "sports").symlink_to(SPORTS)
    log = Path(folder) / "log" / "LightGCN"
    before = set(log.glob("*.log"))
    started = time.perf_counter()
    result = run_recbole_dtlns(
        "LightGCN",
        "sports",
        config_dict={
            **COMMON,
            "data_path": str(data),
            "checkpoint_dir": str(Path(folder) / "saved"),
            "dtlns_sampler": name,
            **keys,
        },
    )
    (written,) = set(log.glob("*.log")) - before
    lines = written.read_text()
    scores = re.findall(r"epoch (\d+) evaluating .*valid_score: ([\d.]+)", lines)
    changed = re.findall(r"choices changed by the trees: ([\d.]+)%", lines)
    return {
        "valid": result["best_valid_result"],
        "test": result["test_result"],
        "best_epoch": int(max(scores, key=lambda pair: float(pair[1]))[0]) + 1,
        "epochs": len(re.findall(r"epoch \d+ training", lines)),
        "changed_by_trees_percent": float(changed[-1]) if changed else None,
        "minutes": (time.perf_counter() - started) / 60,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", default="; ".join(ARMS), help="separated by semicolons")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if not SPORTS.is_dir():
        raise SystemExit(f"the published Sports data is not at {SPORTS}")
    torch.set_num_threads(given.threads)
    file = RESULTS / "sports_samplers.json"
    done = json.loads(file.read_text())["arms"] if file.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # RecBole writes its log there
        for name in (part.strip() for part in given.arms.split(";")):
            if name not in done:
                done[name] = run_arm(name, ARMS[name], folder)
            rows = [
                [
                    arm,
                    *(
                        f"{found[part][metric]:.4f}"
                        for part in ("valid", "test")
                        for metric in ("recall@20", "ndcg@20")
                    ),
                    f"{found['best_epoch']} of {found['epochs']}",
                    f"{found['changed_by_trees_percent']}%" if found["changed_by_trees_percent"] else "",
                ]
                for arm, found in done.items()
            ]
            headers = [
                "sampler",
                "valid R@20",
                "valid N@20",
                "test R@20",
                "test N@20",
                "best epoch",
                "changed by trees",
            ]
            write_results("sports_samplers", {"machine": machine(given.threads), "arms": done}, table(headers, rows))


if __name__ == "__main__":
    main()
