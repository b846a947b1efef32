"""Pairs per second of the judges that ask nobody, on one core, at Sports size and beyond.

Data: the published Sports train pairs, ItemKNN's 20 candidates for every user, the published trees; larger sizes
repeat the users. `calibrated` is timed where it judges (features and probabilities of the real candidates, the item
graph included); learning from hidden positives, which trains the teacher once more, is reported beside it. Memory is
the largest resident size while judging, less that before (Linux).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sports_question import add_argument, audited_question, published_trees
from threadpoolctl import threadpool_limits

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.storage.whole_files import write_atomically
from recbole_dtlns.teachers.contract import Candidates

RESULTS = Path(__file__).parent / "results" / "judge_speed.json"


def repeated(question: Question, times: int) -> Question:
    """The same users, candidates and histories several times over."""
    train, candidates = question.train, question.candidates
    users = [f"{token}-{turn}" for turn in range(times) for token in train.user_tokens.tolist()]
    shift = np.repeat(np.arange(times) * train.n_users, len(candidates)).astype(np.int32)
    return replace(
        question,
        train=TrainInteractions(np.array(users), train.item_tokens, sp.csr_array(sp.vstack([train.matrix] * times))),
        candidates=Candidates(
            np.tile(candidates.users, times) + shift,
            *(np.tile(column, times) for column in (candidates.items, candidates.ranks, candidates.scores)),
        ),
    )


def measure(given: argparse.Namespace, name: str, times: int) -> dict[str, float]:
    """In a process of its own: seconds (median), and memory in MiB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (given.sports, name, times, given.rounds))


def _measure(sports: Path, name: str, times: int, rounds: int) -> dict[str, float]:
    with threadpool_limits(1):
        small, rehearsal = audited_question(sports, share=0.1, seed=0)
        judge: Any = StructuralJudge(threshold=0.5)
        run: Callable[[Question], Any] = judge.judge
        learning = 0.0
        if name == "calibrated":
            judge = CalibratedJudge()
            start = time.perf_counter()
            run = partial(judge.apply, judge.fit(rehearsal))
            learning = time.perf_counter() - start
        question = repeated(replace(small, views=published_trees(sports, small.train)), times)
        for tree in question.views.values():
            tree.leaf_similarity  # noqa: B018  (a property of the trees, made once per run)
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            run(question)
            seconds.append(time.perf_counter() - start)
        memory = _resident("VmHWM") - before
    pairs = len(question.candidates)
    median = statistics.median(seconds)
    return {"pairs": pairs, "seconds": median, "pairs/s": pairs / median, "MiB": memory, "learning": learning}


def _resident(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(field))) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_argument(parser)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    print(f"{'judge':<12}{'pairs':>12}{'seconds':>10}{'pairs/s':>12}{'MiB':>8}{'bytes/pair':>12}{'learning s':>12}")
    for times in (1, 4, 16):
        for name in ("structural", "calibrated"):
            one = found[f"{name}, {times}x"] = measure(given, name, times)
            print(
                f"{name:<12}{one['pairs']:>12}{one['seconds']:>10.3f}{one['pairs/s']:>12.0f}{one['MiB']:>8.0f}"
                f"{one['MiB'] * 2**20 / one['pairs']:>12.0f}{one['learning']:>12.1f}"
            )
    for name in ("structural", "calibrated"):
        first, last = found[f"{name}, 1x"], found[f"{name}, 16x"]
        exponent = np.log(last["seconds"] / first["seconds"]) / np.log(last["pairs"] / first["pairs"])
        found[f"{name}, exponent of time"] = float(exponent)
        print(f"{name}: time grows with pairs to the power {exponent:.2f}")
    RESULTS.parent.mkdir(exist_ok=True)
    write_atomically(RESULTS, json.dumps(found, indent=2).encode())


if __name__ == "__main__":
    main()
