"""Generated negatives on ml-100k or another data set: what they earn on validation pairs, and what a step costs.

Matrix factorisation, one seed; test pairs are not looked at. Costs are processor seconds of epochs trained in turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from typing import Any

import torch
from reporting import machine, table, write_results

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.runner import assemble_run

COMMON: dict[str, Any] = {
    "learning_rate": 0.005,
    "train_batch_size": 2048,
    "eval_step": 5,
    "stopping_step": 3,
    "metrics": ["Recall", "NDCG"],
    "topk": [20],
    "valid_metric": "NDCG@20",
    "seed": 2020,
    "show_progress": False,
    "state": "ERROR",
    "dtlns_judge": "always",
    "dtlns_relabel_add": False,
    "dtlns_relabel_exclude": False,
}
SPLIT = {"benchmark_filename": ["train", "valid", "test"], "load_col": {"inter": ["user_id", "item_id"]}}
RULE = {"dtlns_method": "hnlmrec", "dtlns_sampler": "rns"}
PROJECTION = {**RULE, "dtlns_hnlmrec_generator": "projection"}
# What it was at first: the vector itself, drawn to what the teacher ranks first and no judge looks at.
OF_TEACHER = {"dtlns_hnlmrec_learn_from": "teacher", "dtlns_judge": "never", "dtlns_hnlmrec_projection_match": "vector"}
LOSS_ALONE = {**RULE, "dtlns_hnlmrec_share": 0.0, "dtlns_hnlmrec_contrast": 0.1}
ARMS: dict[str, dict[str, Any]] = {
    "RNS": {"dtlns_sampler": "rns"},
    "rule over RNS": RULE,
    "shuffled over RNS": {**RULE, "dtlns_hnlmrec_control": "shuffled"},
    "random over RNS": {**RULE, "dtlns_hnlmrec_control": "random"},
    "projection over RNS": PROJECTION,
    "projection, the vector itself": {**PROJECTION, "dtlns_hnlmrec_projection_match": "vector"},
    "projection, the vector itself, of the teacher's first": {**PROJECTION, **OF_TEACHER},
    "L_cl alone": LOSS_ALONE,
    "DNS": {"dtlns_sampler": "dns"},
    "rule over DNS": {**RULE, "dtlns_sampler": "dns"},
    "shuffled over DNS": {**RULE, "dtlns_sampler": "dns", "dtlns_hnlmrec_control": "shuffled"},
    "MixGCF": {"dtlns_sampler": "mixgcf"},
}
TIMED = ("MixGCF", "rule over RNS", "projection over RNS", "L_cl alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data-path", help="folder of a data set that is split in advance")
    parser.add_argument("--fields", default="movie_title,class")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"machine": machine(1), **vars(given), "validation": {}, "seconds": {}}
    with tempfile.TemporaryDirectory() as folder:
        keys = {**COMMON, "checkpoint_dir": folder, "dtlns_cache_dir": folder, "epochs": given.epochs}
        keys |= {"dtlns_text_fields": given.fields.split(",")}
        keys |= {**SPLIT, "data_path": given.data_path} if given.data_path else {}

        def run_of(arm: str) -> Any:
            return assemble_run(DTLNSConfig("BPR", given.dataset, config_dict={**keys, **ARMS[arm]}))

        timed = {arm: run_of(arm) for arm in TIMED}
        for epoch in range(given.rounds + 1):
            for arm, run in timed.items():
                run.trainer._train_data = run.data.train_loader
                began = time.process_time()
                run.trainer._train_epoch(run.data.train_loader, epoch)
                if epoch:
                    results["seconds"].setdefault(arm, []).append(time.process_time() - began)
        for arm in ARMS:
            _, best = run_of(arm).fit()
            results["validation"][arm] = {name: float(value) for name, value in (best or {}).items()}
            print(arm, results["validation"][arm], file=sys.stderr, flush=True)
    write_results("generated" if given.data_path is None else f"generated-{given.dataset}", results, rendered(results))


def rendered(results: dict[str, Any]) -> str:
    """A row per arm: metrics on validation, processor seconds of an epoch, and these beside MixGCF's."""
    median = {arm: statistics.median(seconds) for arm, seconds in results["seconds"].items()}
    metrics = list(results["validation"]["RNS"])
    rows = []
    for arm, found in results["validation"].items():
        cost = f"{median[arm]:.2f} s ({median[arm] / median['MixGCF']:.2f})" if arm in median else ""
        rows.append([arm, *(f"{found[metric]:.4f}" for metric in metrics), cost])
    return table(["", *metrics, "an epoch (beside MixGCF)"], rows)


if __name__ == "__main__":
    main()
