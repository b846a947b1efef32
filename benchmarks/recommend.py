"""Seconds from a run folder to recommendations, beside RecBole's `full_sort_topk` over the same users in one process.

RecBole needs the data set loaded, split and made into loaders before it can rank; that is its side of loading. The
lists of both are compared. Rankings are timed in turns; what is shown are medians of the processor's time, which other
work on the machine hardly touches.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_data import SPORTS_SIZE, write_made
from reporting import machine, table, write_results

import recbole_dtlns.compat  # noqa: F401  repairs RecBole
from recbole_dtlns import load_run
from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.runner import Run, assemble_run
from recbole_dtlns.commands.command_line import main as command_line
from recbole_dtlns.compat import quiet_recbole

K = 20
MODELS: dict[str, dict[str, Any]] = {
    "BPR": {"embedding_size": 64},
    "LightGCN": {"embedding_size": 64, "n_layers": 3},
}
SHARED = {"dtlns_preset": "off", "epochs": 1, "train_batch_size": 8192, "eval_step": 0, "show_progress": False}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--models", default=",".join(MODELS))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    size = dict(zip(("n_users", "n_items", "n_pairs"), SPORTS_SIZE, strict=True))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        keys = write_made(Path(folder), "made", **size)
        figures = {
            name: measured(name, {**keys, **SHARED, **MODELS[name]}, given.rounds) for name in given.models.split(",")
        }
        results = {"machine": machine(given.threads), "size": size, "k": K, "rounds": given.rounds, "models": figures}
    write_results("recommend", results, shown(figures, size))


def measured(name: str, keys: dict[str, Any], rounds: int) -> dict[str, float]:
    """Seconds of each step, for one model trained here."""
    run = assemble_run(DTLNSConfig(name, "made", config_dict={**keys, "state": "ERROR"}))
    run.fit()
    # Users of the test part are all that RecBole can rank for.
    users = run.data.test_loader.uid_list.numpy()
    folder, tokens = run.folder, run.parts[0].id2token("user_id", users).tolist()
    Path("users.txt").write_text("\n".join(tokens))
    loading = [seconds(lambda: load_run(folder)) for _ in range(rounds)]
    preparing = [seconds(lambda: prepared(name, keys)) for _ in range(rounds)]
    loaded = load_run(folder)
    at_once = run.data.test_loader.batch_size  # what this package's loaders take: more than RecBole's own
    took: dict[str, list[float]] = {"recommend": [], "full_sort_topk": []}
    for _ in range(rounds):
        took["recommend"].append(seconds(lambda: loaded.recommend(tokens, K, "evaluation")))
        took["full_sort_topk"].append(seconds(lambda: by_recbole(run, users, at_once)))
    ours, theirs = loaded.recommend(tokens, K, "evaluation"), by_recbole(run, users, at_once)
    command = seconds(lambda: command_line(["recommend", str(folder), f"--k={K}", "--output=recommendations.parquet"]))
    return {
        "users": len(users),
        "load_run": statistics.median(loading),
        "loaders of RecBole": statistics.median(preparing),
        **{what: statistics.median(times) for what, times in took.items()},
        "all users": seconds(lambda: loaded.recommend(loaded.users, K)),
        "the whole command": command,
        "largest difference of a score": float(np.abs(ours.scores - theirs).max()),
    }


def prepared(name: str, keys: dict[str, Any]) -> Run:
    """What must be there before RecBole can rank; the model is made on the way."""
    return assemble_run(DTLNSConfig(name, "made", config_dict={**keys, "state": "ERROR"}))


def by_recbole(run: Run, users: np.ndarray, at_once: int) -> np.ndarray:
    """Scores of the lists of RecBole's case study, as many users at once as its evaluation ranks."""
    from recbole.utils.case_study import full_sort_topk

    found = []
    with quiet_recbole():
        for start in range(0, len(users), at_once):
            block = users[start : start + at_once].tolist()
            found.append(full_sort_topk(block, run.trainer.model, run.data.test_loader, K)[0].numpy())
    return np.concatenate(found)


def seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def shown(figures: dict[str, dict[str, float]], size: dict[str, int]) -> str:
    rows = []
    for name, found in figures.items():
        ratio = f"{found['full_sort_topk'] / found['recommend']:.1f} times"
        steps = ("recommend", "full_sort_topk", "load_run", "loaders of RecBole", "all users", "the whole command")
        recommend, topk, *others = (f"{found[step]:.2f}" for step in steps)
        rows.append((name, f"{found['users']:,.0f}", recommend, topk, ratio, *others))
    head = ["model", "users of test", "`recommend`", "`full_sort_topk`", "ratio"]
    head += ["`load_run`", "data and loaders for RecBole", "`recommend`, all users", "command, all users"]
    made = f"Made data of {size['n_users']:,} users, {size['n_items']:,} items and {size['n_pairs']:,} train pairs"
    return f"{made}; lists of {K}; seconds of the processor.\n\n{table(head, rows)}"


if __name__ == "__main__":
    main()
