"""Seconds and memory of an epoch of the loss over whole lists, beside the pairwise preset `best`.

Every arm runs in a process of its own, one after the other, on made data of Sports' size, of which ItemKNN names fifty
candidates per user (who does, changes nothing here). Seconds are medians over epochs, after one that does not count, on
a CPU of processor time, which other work on the machine hardly changes; memory is what the process has in an epoch at
most beyond what it had before the first.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil
import torch
from epochs import COMMON, our_arm, seconds_of_epochs
from made_data import SPORTS_SIZE, write_made
from reporting import machine, table, write_results

BEST: dict[str, Any] = {"dtlns_preset": "rows", "dtlns_teacher": "ItemKNN"}
ARMS: dict[str, dict[str, Any]] = {
    "best, pairwise": {},
    "listwise": {"dtlns_loss": "listwise"},
    "listwise, 256 users a batch": {"dtlns_loss": "listwise", "dtlns_loss_users": 256},
    "listwise, 1024 draws": {"dtlns_loss": "listwise", "dtlns_loss_items": 1024},
}
_MIB = 2**20


def measured(model: str, keys: dict[str, Any], rounds: int, threads: int) -> dict[str, Any]:
    """Seconds of every epoch, and bytes beyond what there was before, of one arm in this process."""
    torch.set_num_threads(threads)
    train_epoch = our_arm(model, keys)
    process, peak, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds = seconds_of_epochs(train_epoch, rounds)
    done.set()
    watcher.join()
    on_device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {"seconds": seconds, "memory": on_device or max(0, peak[0] - before)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="BPR,LightGCN")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(given.threads), "rounds": given.rounds, "epochs": {}}
    own_process = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        keys = {**COMMON, **write_made(Path(folder), "made", *SPORTS_SIZE), "checkpoint_dir": folder, **BEST}
        keys["dtlns_cache_dir"] = folder
        for model in given.models.split(","):
            arms = results["epochs"][model] = {}
            for name, own in ARMS.items():
                with own_process.Pool(1) as pool:
                    arms[name] = pool.apply(measured, (model, {**keys, **own}, given.rounds, given.threads))
    write_results("listwise", results, rendered(results["epochs"]))


def rendered(epochs: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A row per arm, a column per model."""
    rows = []
    for name in ARMS:
        cells = [
            f"{statistics.median(arms[name]['seconds']):.2f} s, {arms[name]['memory'] / _MIB:.0f} MiB"
            for arms in epochs.values()
        ]
        rows.append([name, *cells])
    return table(["", *epochs], rows)


if __name__ == "__main__":
    main()
