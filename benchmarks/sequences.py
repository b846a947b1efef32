"""Processor seconds of an epoch of sequential models: RecBole's softmax over all items, and losses that draw.

Every arm trains in a process of its own, one after the other, on Beauty as RecBole cuts it (leave one out); guided ones
have the council's twenty best as further targets. Seconds are medians over epochs, after one that does not count: of
processor time, which other work on the machine hardly changes, and on a GPU of the clock.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from epochs import our_arm, plain_arm, seconds_of_epochs
from reporting import machine, table, write_results

BEAUTY = Path(__file__).resolve().parents[2] / "shared" / "data" / "beauty"
COMMON: dict[str, Any] = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
    "train_batch_size": 2048,
    "loss_type": "CE",
    "train_neg_sample_args": None,
    "show_progress": False,
    "state": "ERROR",
}
DRAWN: dict[str, Any] = {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
SAMPLED = {**DRAWN, "dtlns_loss": "sampled_softmax", "dtlns_sampler": "rns", "dtlns_loss_shared": 512}
ARMS: dict[str, dict[str, Any] | None] = {
    "RecBole, all items": None,
    "all items, guided": {},
    "sampled softmax, guided": SAMPLED,
    "sampled softmax, guided, 10 hard candidates": {**SAMPLED, "dtlns_sampler": "dns", "dtlns_n_candidates": 10},
    "gbce, guided": {**SAMPLED, "dtlns_loss": "gbce"},
}


def measured(model: str, name: str, keys: dict[str, Any], rounds: int, threads: int) -> list[float]:
    """Seconds of every epoch of one arm in this process."""
    torch.set_num_threads(threads)
    own = ARMS[name]
    if own is None:
        train_epoch = plain_arm(
            model, {key: value for key, value in keys.items() if not key.startswith("dtlns_")}, "beauty"
        )
    else:
        train_epoch = our_arm(model, {**keys, **own}, "beauty")
    seconds = seconds_of_epochs(train_epoch, rounds)
    print(f"{model}, {name}: {seconds}", file=sys.stderr)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="SASRec,GRU4Rec")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if not BEAUTY.is_dir():
        sys.exit(f"the Beauty data is not at {BEAUTY}")
    results: dict[str, Any] = {"machine": machine(given.threads), "rounds": given.rounds, "seconds": {}}
    own_process = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        keys = {**COMMON, "data_path": str(BEAUTY.parent), "checkpoint_dir": folder, "dtlns_cache_dir": folder}
        for model in given.models.split(","):
            arms = results["seconds"][model] = {}
            for name in ARMS:
                with own_process.Pool(1) as pool:
                    arms[name] = pool.apply(measured, (model, name, keys, given.rounds, given.threads))
    write_results("sequences", results, rendered(results["seconds"]))


def rendered(seconds: dict[str, dict[str, list[float]]]) -> str:
    """A row per arm, a column per model: seconds, and relative to RecBole's softmax over all items."""
    rows = []
    for name in ARMS:
        cells = []
        for arms in seconds.values():
            median = statistics.median(arms[name])
            cells.append(f"{median:.1f} s ({median / statistics.median(arms['RecBole, all items']):.2f})")
        rows.append([name, *cells])
    return table(["", *seconds], rows)


if __name__ == "__main__":
    main()
