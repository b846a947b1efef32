"""A preparation on Ray as the data grow: seconds of every stage, memory of driver and workers, and what follows.

Made data with power laws of users and items, the teacher NeighbourRidge, the judge calibrated (so teacher and trees are
made twice), a cluster of this machine with as many workers as are asked for. What is written of larger sizes is
extrapolated from the two largest that were measured: seconds by exponents, memory along a line. With more workers, what
is done in blocks takes as much less, and the rest as long.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
from growth import Stages, each_in_a_process, exponent
from made_data import made_pairs
from reporting import machine, table, write_results

import recbole_dtlns.compat  # noqa: F401  repairs RecBole
from recbole_dtlns.blocks.shared_out import SharedOut
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.preparation import prepare
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.storage.artefact_store import ArtefactStore

SIZES = {"1e5": (10_000, 5_000, 10**5), "1e6": (100_000, 50_000, 10**6), "1e7": (1_000_000, 500_000, 10**7)}
EXTRAPOLATED = {"1e8": 10**8, "1e9": 10**9}
MANY_WORKERS = 64
SECONDS_BETWEEN_LOOKS = 0.2


class Watch:
    """The most memory of each kind at any time, in GiB.

    - `driver`, `worker`: what this process, and any worker, has for itself: what the system could not have back, as it
      could the pages of mapped files;
    - `store`: what workers share, Ray's object store.
    """

    def __init__(self) -> None:
        self.highest = {"driver": 0.0, "worker": 0.0, "store": 0.0}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        driver = psutil.Process()
        while not self._end.wait(SECONDS_BETWEEN_LOOKS):
            self._note("driver", driver, _own)
            self._note("store", driver, _shared_memory)  # it puts there what workers share
            for process in driver.children(recursive=True):
                with contextlib.suppress(psutil.Error, OSError):  # it has just ended
                    if " ".join(process.cmdline()).startswith("ray::"):
                        self._note("worker", process, _own)

    def _note(self, what: str, process: psutil.Process, measured: Callable[[psutil.Process], int]) -> None:
        self.highest[what] = max(self.highest[what], measured(process) / 2**30)


def _own(process: psutil.Process) -> int:
    memory = process.memory_info()
    return int(memory.rss - memory.shared)


def _shared_memory(process: psutil.Process) -> int:
    found = re.search(r"RssShmem:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def measure(size: tuple[int, int, int], workers: int) -> dict[str, Any]:
    """All stages of one preparation; 0 workers: in this process alone."""
    train = TrainInteractions.from_tokens(*(ids.astype(str) for ids in made_pairs(*size)))
    stages = Stages()
    if workers:
        import ray

        ray.init("local", num_cpus=workers, log_to_driver=False, include_dashboard=False)
    with tempfile.TemporaryDirectory() as folder:
        keys = {
            "teacher": "NeighbourRidge",
            "judge": "calibrated",
            "cache_dir": folder,
            "prepare_on": "ray" if workers else "local",
        }
        flat = DTLNSSettings.from_config({f"dtlns_{key}": value for key, value in keys.items()}).flat
        with (
            mock.patch.object(ArtefactStore, "get_or_build", stages.timed(None, ArtefactStore.get_or_build)),
            mock.patch.object(SharedOut, "__call__", stages.shared(SharedOut.__call__)),
            Watch() as watch,
        ):
            stages.timed("the rest", prepare)(flat, train, make_teacher(flat))
    return {
        "pairs": train.matrix.nnz,
        "users": train.n_users,
        "items": train.n_items,
        "stages": stages.found,
        **watch.highest,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1e5,1e6", help=f"of {', '.join(SIZES)}")
    parser.add_argument("--workers", type=int, default=2, help="0: this process alone")
    parser.add_argument("--one", help="measure one size and print it as JSON (used by the script itself)")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(SIZES[given.one], given.workers)))
        return
    report(each_in_a_process(__file__, given.sizes.split(","), "--workers", str(given.workers)), given.workers)


def report(found: dict[str, dict[str, Any]], workers: int) -> None:
    """Print and write what was measured of every size."""
    sizes = list(found.values())
    further = [(name, size, workers) for name, size in EXTRAPOLATED.items()]
    if workers:
        further.append((*list(EXTRAPOLATED.items())[-1], MANY_WORKERS))
    rows, totals = [], np.zeros(len(further))
    for stage in sizes[-1]["stages"]:
        seconds = [one["stages"][stage]["seconds"] for one in sizes]
        expected = [_seconds(stage, sizes, size, workers / many if workers else 1) for _, size, many in further]
        totals += expected
        share = sizes[-1]["stages"][stage]["shared"] / seconds[-1]
        rows.append(
            [stage, *(f"{one:.1f} s" for one in seconds), f"{share:.0%}", f"{_slope(sizes, seconds):.2f}"]
            + [_hours(one) for one in expected]
        )
    whole = [sum(stage["seconds"] for stage in one["stages"].values()) for one in sizes]
    shared = sum(stage["shared"] for stage in sizes[-1]["stages"].values()) / whole[-1]
    rows.append(
        ["whole", *(f"{one:.0f} s" for one in whole), f"{shared:.0%}", f"{_slope(sizes, whole):.2f}"]
        + [_hours(one) for one in totals]
    )
    for what, memory in _memory(found, workers).items():
        grown, base = np.polyfit(_pairs(sizes), memory[-2:], 1) if len(found) > 1 else (0.0, 0.0)
        expected_memory = [f"{base + grown * size:.0f} GiB" if many == workers else "" for _, size, many in further]
        rows.append([what, *(f"{one:.1f} GiB" for one in memory), "", "", *expected_memory])
    heads = [f"{name}: {one['users']} x {one['items']}, {one['pairs']} pairs" for name, one in found.items()]
    further_heads = [f"{name} on {many} workers, extrapolated" for name, _, many in further]
    results = {"machine": machine(workers), "sizes": found}
    head = ["stage", *heads, "of it in blocks", "exponent", *further_heads]
    write_results("large_preparation", results, table(head, rows))


def _seconds(stage: str, sizes: list[dict[str, Any]], pairs: int, fewer: float) -> float:
    """Of a stage with so many pairs, where what is done in blocks takes this part of the time."""
    measured = [one["stages"][stage] for one in sizes]
    return sum(
        part[-1] * (pairs / sizes[-1]["pairs"]) ** _slope(sizes, part) * factor
        for part, factor in (
            ([one["shared"] for one in measured], fewer),
            ([one["seconds"] - one["shared"] for one in measured], 1),
        )
    )


def _slope(sizes: list[dict[str, Any]], seconds: list[float]) -> float:
    """The exponent between the two largest sizes."""
    if len(sizes) == 1 or seconds[-2] <= 0:
        return 1.0
    return exponent(_pairs(sizes), seconds[-2:])


def _pairs(sizes: list[dict[str, Any]]) -> list[float]:
    return [one["pairs"] for one in sizes[-2:]]


def _memory(found: dict[str, dict[str, Any]], workers: int) -> dict[str, list[float]]:
    """GiB of every size."""
    driver, worker, store = ([one[who] for one in found.values()] for who in ("driver", "worker", "store"))
    return {
        "memory of the driver": driver,
        "memory of a worker": worker,
        "memory that workers share": store,
        "memory in all, at most": [a + b + workers * c for a, b, c in zip(driver, store, worker, strict=True)],
    }


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


if __name__ == "__main__":
    main()
