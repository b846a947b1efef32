"""Seconds per training epoch: plain RecBole beside this package's samplers, in turns in one process.

Every round trains one epoch of every arm; what is compared are medians over rounds. Plain arms are RecBole's own
classes with nothing of this package in them but the repairs that let RecBole run with today's NumPy and pandas.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from made_data import SPORTS_SIZE, write_made
from reporting import machine, table, write_results

import recbole_dtlns.compat  # noqa: F401  repairs RecBole
from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.runner import assemble_run
from recbole_dtlns.compat import quiet_recbole

COMMON: dict[str, Any] = {
    "embedding_size": 64,
    "train_batch_size": 2048,
    "eval_batch_size": 2_000_000,
    "show_progress": False,
    "state": "ERROR",
    "n_layers": 3,
    "reg_weight": 1e-4,
    "require_pow": True,
    "mlp_hidden_size": [64, 32],
}
FREE = {"dtlns_relabel_add": False, "dtlns_relabel_exclude": False}
DYNAMIC = {"train_neg_sample_args": {"distribution": "uniform", "dynamic": True, "candidate_num": 10, "sample_num": 1}}
SAMPLERS: dict[str, dict[str, Any]] = {
    "rns": {},
    "popularity": {},
    "dns": {},
    "dns_mn": {},
    "ahns": {},
    "srns": {"dtlns_n_candidates": 64},
    "dtlns": {},
    "dtlns, tree pool": {"dtlns_sampler": "dtlns", "dtlns_pool": "tree"},
    "dtlns, mixing": {"dtlns_sampler": "dtlns", "dtlns_mixing": True},
    "mixgcf": {},
    "dens": {"dtlns_n_candidates": 6},
    "hnlmrec": {"dtlns_method": "hnlmrec", "dtlns_sampler": "rns", "dtlns_hnlmrec_space": "teacher"},
    "hnlmrec, L_cl": {
        "dtlns_method": "hnlmrec",
        "dtlns_sampler": "rns",
        "dtlns_hnlmrec_space": "teacher",
        "dtlns_hnlmrec_contrast": 0.001,
    },
}


def plain_arm(model: str, keys: dict[str, Any], dataset: str = "made") -> Callable[[int], None]:
    """One epoch of RecBole's own trainer."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    with quiet_recbole(), mock.patch.object(sys, "argv", ["benchmark"]):
        config = Config(model, dataset, config_dict=keys)
        init_seed(config["seed"], config["reproducibility"])
        train, _, _ = data_preparation(config, create_dataset(config))
        network = get_model(model)(config, train.dataset).to(config["device"])
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    if config["train_neg_sample_args"]["dynamic"]:
        train.get_model(network)  # as RecBole's fit does
    return lambda epoch: trainer._train_epoch(train, epoch)


def our_arm(model: str, keys: dict[str, Any], dataset: str = "made") -> Callable[[int], None]:
    """One epoch of ours, assembled as a run is."""
    run = assemble_run(DTLNSConfig(model, dataset, config_dict=keys))
    run.trainer._train_data = run.data.train_loader
    return lambda epoch: run.trainer._train_epoch(run.data.train_loader, epoch)


def synchronised() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of_epochs(train_epoch: Callable[[int], None], rounds: int) -> list[float]:
    """Seconds of every epoch, after one that does not count: of processor time, and on a GPU of the clock."""
    clock = synchronised if torch.cuda.is_available() else time.process_time
    seconds = []
    for epoch in range(rounds + 1):
        started = clock()
        with quiet_recbole():
            train_epoch(epoch)
        seconds.append(clock() - started)
    return seconds[1:]


def measure(arms: dict[str, Callable[[int], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds per epoch of every arm, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for epoch in range(rounds + 1):
        for name, train_epoch in arms.items():
            started = synchronised()
            with quiet_recbole():
                train_epoch(epoch)
            if epoch:
                seconds[name].append(synchronised() - started)
        print(f"round {epoch}", file=sys.stderr)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="BPR,LightGCN,NeuMF")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results: dict[str, Any] = {"machine": machine(given.threads), "rounds": given.rounds, "seconds": {}}
    with tempfile.TemporaryDirectory() as folder:
        keys = {**COMMON, **write_made(Path(folder), "made", *SPORTS_SIZE), "checkpoint_dir": folder}
        keys["dtlns_cache_dir"] = folder
        plain_keys = {key: value for key, value in keys.items() if not key.startswith("dtlns_")}
        for model in given.models.split(","):
            arms = {
                "RecBole, uniform": plain_arm(model, plain_keys),
                "RecBole, dynamic 10": plain_arm(model, {**plain_keys, **DYNAMIC}),
            }
            for name, own in SAMPLERS.items():
                if model == "NeuMF" and (name.startswith(("mixgcf", "dens", "hnlmrec")) or "mixing" in name):
                    continue
                arms[name] = our_arm(model, {**keys, **FREE, "dtlns_sampler": name, **own})
            results["seconds"][model] = measure(arms, given.rounds)
    write_results("epochs", results, rendered(results["seconds"]))


def rendered(seconds: dict[str, dict[str, list[float]]]) -> str:
    """A row per sampler, a column per model: seconds, and relative to RecBole's uniform and dynamic sampling."""
    median = {
        model: {arm: statistics.median(values) for arm, values in arms.items()} for model, arms in seconds.items()
    }
    names = list(dict.fromkeys(arm for arms in median.values() for arm in arms))
    rows = []
    for name in names:
        cells = []
        for arms in median.values():
            if name in arms:
                uniform, dynamic = (arms[name] / arms[arm] for arm in ("RecBole, uniform", "RecBole, dynamic 10"))
                cells.append(f"{arms[name]:.2f} s ({uniform:.2f}; {dynamic:.2f})")
            else:
                cells.append("refused")
        rows.append([name, *cells])
    return table(["", *median], rows)


if __name__ == "__main__":
    main()
