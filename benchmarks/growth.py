"""Time and peak memory of every stage of a run, as the data grow, with the fitted exponents.

Users and items grow with the interactions (ten per user, twenty per item), each size in a process of its own. Beside
them stands a set of the size of Amazon-book. Every stage runs as in a real run: BPR with `dtlns`, the structural judge,
ItemKNN as the teacher (EASE needs items x items numbers).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import torch
from made_data import write_made
from reporting import machine, table, write_results

import recbole_dtlns.compat  # noqa: F401  repairs RecBole
from recbole_dtlns.bridge import runner
from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.storage.artefact_store import ArtefactStore
from recbole_dtlns.trees import structure
from recbole_dtlns.trees.structure import item_graph

SIZES = {  # users, items, train pairs
    "1e5": (10_000, 5_000, 10**5),
    "1e6": (100_000, 50_000, 10**6),
    "1e7": (1_000_000, 500_000, 10**7),
    "Amazon-book": (53_000, 92_000, 3 * 10**6),
}
PREPARATION = ("teacher", "structure", "structure-tree", "semantic-tree", "verdicts", "relabelling")
EVALUATED_USERS = 2000
EPOCH_BATCHES = 100


class Stages:
    """Seconds and peak memory (GiB, of the whole process) of named stages; a stage leaves out those within it."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}
        self._inner, self._shared = 0.0, 0.0

    def timed(self, name: str | None, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, measured; without a name it is the function's second argument, as a store's stage."""

        def measured(*arguments: Any, **named: Any) -> Any:
            stage = name or arguments[1]
            outer, self._inner = self._inner, 0.0
            outer_shared, self._shared = self._shared, 0.0
            forget_peak()
            started = time.perf_counter()
            result = work(*arguments, **named)
            whole = time.perf_counter() - started
            own, high = whole - self._inner, peak()
            # A rehearsal runs stages again.
            before = self.found.get(stage, {"seconds": 0.0, "shared": 0.0, "peak": 0.0})
            self.found[stage] = {
                "seconds": before["seconds"] + own,
                "shared": before["shared"] + self._shared,
                "peak": max(before["peak"], high),
            }
            print(f"{stage}: {own:.2f} s, {self._shared:.2f} s of it shared, {high:.2f} GiB", file=sys.stderr)
            self._inner, self._shared = outer + whole, outer_shared
            return result

        return measured

    def shared(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, whose seconds are noted as those of the stage that workers share."""

        def measured(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = work(*arguments, **named)
            self._shared += time.perf_counter() - started
            return result

        return measured


def forget_peak() -> None:
    """Let Linux measure the peak anew; elsewhere `peak` is the present memory."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def peak() -> float:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    high = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return (high[0] if high else psutil.Process().memory_info().rss) / 2**30


def measure(size: tuple[int, int, int], threads: int) -> dict[str, Any]:
    """All stages of one run."""
    torch.set_num_threads(threads)
    stages = Stages()
    edges: list[int] = []

    def noted_graph(*arguments: Any, **named: Any) -> Any:
        graph = item_graph(*arguments, **named)
        edges.append(graph.nnz)
        return graph

    with tempfile.TemporaryDirectory() as folder:
        keys = write_made(Path(folder), "made", *size, evaluated=EVALUATED_USERS)
        config = DTLNSConfig(
            "BPR",
            "made",
            config_dict={
                **keys,
                "checkpoint_dir": folder,
                "dtlns_cache_dir": folder,
                "dtlns_teacher": "ItemKNN",
                "train_batch_size": size[2] // EPOCH_BATCHES,
                "show_progress": False,
                "state": "ERROR",
            },
        )
        with (
            mock.patch.object(runner, "load_data", stages.timed("reading, by RecBole", runner.load_data)),
            mock.patch.object(runner, "described_train", stages.timed("canonical form", runner.described_train)),
            mock.patch.object(structure, "item_graph", noted_graph),
            mock.patch.object(ArtefactStore, "get_or_build", stages.timed(None, ArtefactStore.get_or_build)),
            mock.patch.object(runner, "guide", stages.timed("preparation, the rest", runner.guide)),
            mock.patch.object(runner, "dtlns_run_data", stages.timed("pools and loaders", runner.dtlns_run_data)),
            quiet_recbole(),
        ):
            run = stages.timed("model and trainer", runner.assemble_run)(config)
            run.trainer._train_data = run.data.train_loader
            stages.timed("epoch of 100 batches", run.trainer._train_epoch)(run.data.train_loader, 0)
            evaluate = stages.timed(f"ranking for {EVALUATED_USERS} users", run.trainer.evaluate)
            evaluate(run.data.valid_loader, load_best_model=False)
        pairs = len(run.data.train_loader.dataset)
    sizes = {"users": size[0], "items": size[1], "pairs": pairs, "edges": edges[0]}
    return {**sizes, "stages": stages.found}


def exponent(sizes: list[float], seconds: list[float]) -> float:
    """Slope of log seconds over log size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def each_in_a_process(script: str, sizes: list[str], *options: str) -> dict[str, dict[str, Any]]:
    """What a script prints with --one SIZE, by size; each begins with the memory of a new process."""
    found: dict[str, dict[str, Any]] = {}
    for name in sizes:
        print(f"size {name}", file=sys.stderr)
        command = [sys.executable, script, "--one", name, *options]
        printed = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        found[name] = json.loads(printed.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(SIZES), help=f"of {', '.join(SIZES)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", help="measure one size and print it as JSON (used by the script itself)")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(SIZES[given.one], given.threads)))
        return
    found = each_in_a_process(__file__, given.sizes.split(","), "--threads", str(given.threads))
    growing = [name for name in ("1e5", "1e6", "1e7") if name in found]
    stages = list(found[next(iter(found))]["stages"])
    rows = []
    for stage in stages:
        cells = [
            f"{one['stages'][stage]['seconds']:.1f} s, {one['stages'][stage]['peak']:.1f} GiB" for one in found.values()
        ]
        pairs = [found[name]["pairs"] for name in growing]
        seconds = [found[name]["stages"][stage]["seconds"] for name in growing]
        rows.append([stage, *cells, f"{exponent(pairs, seconds):.2f}" if len(growing) > 1 else ""])
    whole = [f"{sum(one['stages'][stage]['seconds'] for stage in PREPARATION):.0f} s" for one in found.values()]
    rows.append(["whole preparation", *whole, ""])
    rows.append(["edges per item", *(f"{one['edges'] / one['items']:.0f}" for one in found.values()), ""])
    heads = [f"{name}: {one['users']} x {one['items']}, {one['pairs']} pairs" for name, one in found.items()]
    results = {"machine": machine(given.threads), "sizes": found}
    write_results("growth", results, table(["stage", *heads, "exponent"], rows))


if __name__ == "__main__":
    main()
