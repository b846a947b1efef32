"""Seconds per epoch of models of features: RecBole's uniform negatives beside ones chosen among ten, on ml-100k.

Measured as in `epochs.py`. Every row of ml-100k is a positive here, with the features that RecBole loads.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import torch
from epochs import DYNAMIC, FREE, measure, our_arm, plain_arm, rendered
from reporting import machine, write_results

from recbole_dtlns import mend_recbole

DATA = "ml-100k"
DRAWN: dict[str, Any] = {
    "threshold": None,
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
    "eval_args": {"mode": "full"},
    "metrics": ["Recall", "NDCG"],
    "valid_metric": "NDCG@10",
    "train_batch_size": 2048,
    "show_progress": False,
    "state": "ERROR",
}
SAMPLERS = ("rns", "dns", "dtlns")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="DeepFM,DCN,AutoInt")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    mend_recbole()  # which reads no features under pandas 3
    results: dict[str, Any] = {"machine": machine(given.threads), "rounds": given.rounds, "seconds": {}}
    with tempfile.TemporaryDirectory() as folder:
        keys = {**DRAWN, "checkpoint_dir": folder}
        for model in given.models.split(","):
            arms = {
                "RecBole, uniform": plain_arm(model, keys, DATA),
                "RecBole, dynamic 10": plain_arm(model, {**keys, **DYNAMIC}, DATA),
            }
            for name in SAMPLERS:
                own = {**keys, **FREE, "dtlns_sampler": name, "dtlns_cache_dir": folder}
                arms[name] = our_arm(model, own, DATA)
            results["seconds"][model] = measure(arms, given.rounds)
    write_results("features", results, rendered(results["seconds"]))


if __name__ == "__main__":
    main()
