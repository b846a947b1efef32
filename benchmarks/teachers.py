"""Seconds, processor seconds and peak memory of fitting NeighbourRidge and EASE, as the catalogue grows.

Users, items and pairs grow together as in `growth.py`; beside them stand a set of the size of Amazon-Book and, where
they lie beside this project, the real Sports and Gowalla splits. Every fit has a process of its own. On a machine with
other work to do, seconds on the clock say how much of it was left; processor seconds, over all threads, say what the
fit takes (a busy neighbour slows these too, for they share caches). Each is the least of several rounds.

SANSA (Spisak et al., RecSys 2023), the published sparse approximation of EASE, takes 49 s for the 91,599 items of
Amazon-Book on two cores, in its authors' account.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from growth import SIZES, exponent, forget_peak, peak
from reporting import machine, table, write_results
from threadpoolctl import threadpool_limits
from trees import made_train, read_train

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.teachers.closed_form import EASE
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.teachers.neighbour_ridge import NeighbourRidge

SHARED = Path(__file__).resolve().parents[2] / "shared"
FILES = {
    "Sports": SHARED / "sports" / "sports.train.inter",
    "Gowalla": SHARED / "data" / "gowalla" / "gowalla.train.inter",
}
GROWING = ("1e5", "1e6", "1e7")
TEACHERS: dict[str, Callable[[], Teacher]] = {"NeighbourRidge": NeighbourRidge, "EASE": EASE}
ONCE = 80_000  # items from which one round is enough


def measure(teacher: str, name: str, threads: int) -> dict[str, Any]:
    """One fit."""
    train: TrainInteractions = read_train(FILES[name]) if name in FILES else made_train(SIZES[name])
    found: dict[str, Any] = {"users": train.n_users, "items": train.n_items, "pairs": int(train.matrix.nnz)}
    forget_peak()
    clock, processor = time.perf_counter(), time.process_time()
    try:
        with threadpool_limits(limits=threads):
            TEACHERS[teacher]().fit(train)
    except ConfigError as error:
        return {**found, "refused": str(error)}
    seconds = {"seconds": time.perf_counter() - clock, "processor": time.process_time() - processor}
    return {**found, **seconds, "peak": peak()}


def least(teacher: str, name: str, threads: int, rounds: int) -> dict[str, Any]:
    """The least of several fits, each in a process of its own."""
    command = [sys.executable, __file__, "--one", teacher, name, "--threads", str(threads)]
    found: dict[str, Any] = {}
    for _ in range(rounds):
        printed = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        one = json.loads(printed.strip().splitlines()[-1])
        print(teacher, name, one, file=sys.stderr)
        found = {key: min(value, found.get(key, value)) for key, value in one.items()}
        if "refused" in one or one["items"] >= ONCE:
            break
    return found


def cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "not measured"
    if "refused" in found:
        return "refused: needs about " + found["refused"].partition("needs about ")[2].partition(" for")[0]
    return f"{found['seconds']:.1f} s, {found['processor']:.1f} s, {found['peak']:.1f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join([*SIZES, *FILES]), help=f"of {', '.join([*SIZES, *FILES])}")
    parser.add_argument(
        "--dense-sizes", default="1e5,Sports", help="those on which EASE is fitted too; its time grows with items ** 3"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--one", nargs=2, help="measure one teacher on one size (used by the script itself)")
    given = parser.parse_args()
    if given.one:
        teacher, size = given.one
        print(json.dumps(measure(teacher, size, given.threads)))
        return
    names = [name for name in given.sizes.split(",") if name in SIZES or FILES[name].exists()]
    dense = given.dense_sizes.split(",")
    found = {
        teacher: {
            name: least(teacher, name, given.threads, given.rounds)
            for name in names
            if teacher == "NeighbourRidge" or name in dense
        }
        for teacher in TEACHERS
    }
    ridge = found["NeighbourRidge"]
    rows = [
        [
            name,
            f"{one['users']} x {one['items']}, {one['pairs']} pairs",
            *(cell(found[by].get(name)) for by in TEACHERS),
        ]
        for name, one in ridge.items()
    ]
    growing = [ridge[name] for name in GROWING if name in ridge]
    if len(growing) > 1:
        slope = exponent([one["items"] for one in growing], [one["processor"] for one in growing])
        rows.append(["exponent", "processor seconds over items, made data", f"{slope:.2f}", ""])
    headers = ["data", "size", *(f"{teacher}: clock, processor, peak" for teacher in TEACHERS)]
    write_results("teachers", {"machine": machine(given.threads), "found": found}, table(headers, rows))


if __name__ == "__main__":
    main()
