"""Pairs per second of the judges that ask nobody, on one core, at Sports size and beyond.

Data: the published Sports train pairs and trees; ItemKNN's 20 candidates for every user, or, for a council, the 50 best
of each of the four teachers of the preset `best`; larger sizes repeat the users. A learnt judge is timed where it
judges (features and probabilities of the real candidates, the item graph included); learning from hidden positives is
reported beside it, without the teachers' fitting. Memory is the largest resident size while judging, less that before
(Linux).
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from reporting import machine, table, write_results
from sports_question import add_argument, audited_question, published_trees, sports_train
from threadpoolctl import threadpool_limits

from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.calibrated import CalibratedJudge, examples_of
from recbole_dtlns.judges.contract import Question, Rehearsal
from recbole_dtlns.judges.learners import LearnerName, chosen, learnt
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.teachers.closed_form import CoOccurrence, ItemKNN
from recbole_dtlns.teachers.contract import Candidates, top_candidates
from recbole_dtlns.teachers.council import joined
from recbole_dtlns.teachers.neighbour_ridge import NeighbourRidge
from recbole_dtlns.teachers.spectral import GFCF

# By name: whether a council is asked, and what learns.
JUDGES: dict[str, tuple[bool, LearnerName | None]] = {
    "structural": (False, None),
    "calibrated": (False, "logistic"),
    "of a council": (True, "logistic"),
    "of a council, both learners": (True, "mean"),
}
TIMES, PUBLISHED_CANDIDATES, DEPTH = (1, 4, 16), 50, 200


def repeated(question: Question, times: int) -> Question:
    """The same users, candidates and histories several times over."""
    train, candidates, opinions = question.train, question.candidates, question.opinions
    users = [f"{token}-{turn}" for turn in range(times) for token in train.user_tokens.tolist()]
    shift = np.repeat(np.arange(times) * train.n_users, len(candidates)).astype(np.int32)
    return replace(
        question,
        train=TrainInteractions(np.array(users), train.item_tokens, sp.csr_array(sp.vstack([train.matrix] * times))),
        candidates=Candidates(
            np.tile(candidates.users, times) + shift,
            *(np.tile(column, times) for column in (candidates.items, candidates.ranks, candidates.scores)),
        ),
        opinions=opinions and opinions.of(np.tile(np.arange(len(candidates)), times)),
    )


def council_question(sports: Path) -> tuple[Question, Rehearsal]:
    """The candidates of four teachers, and the same with a tenth of each user's pairs hidden."""

    def ask(train: TrainInteractions) -> Question:
        members = {"NeighbourRidge": NeighbourRidge(), "GFCF": GFCF(), "CoOccurrence": CoOccurrence()}
        fitted = {name: teacher.fit(train) for name, teacher in {**members, "ItemKNN": ItemKNN()}.items()}
        lists = {name: top_candidates(one, train, DEPTH) for name, one in fitted.items()}
        candidates, opinions = joined(lists, train, PUBLISHED_CANDIDATES, DEPTH)
        return Question(train, candidates, published_trees(sports, train), opinions=opinions)

    question = ask(sports_train(sports))
    reduced, hidden = hide_positives(question.train, 0.1, 0)
    return question, Rehearsal(ask(reduced), hidden, question)


def measure(given: argparse.Namespace, name: str) -> dict[str, dict[str, float]]:
    """In a process of its own, by times: pairs, processor seconds (median), and memory in MiB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (given.sports, name, given.rounds))


def _measure(sports: Path, name: str, rounds: int) -> dict[str, dict[str, float]]:
    with threadpool_limits(1):
        council, learner = JUDGES[name]
        small, rehearsal = council_question(sports) if council else audited_question(sports, share=0.1, seed=0)
        run: Callable[[Question], Any] = StructuralJudge(threshold=0.5).judge
        learning = 0.0
        if learner is not None:
            start = time.process_time()
            examples = examples_of(rehearsal, seed=0)
            run = partial(CalibratedJudge().apply, learnt(examples, chosen(examples, learner, 42), 42))
            learning = time.process_time() - start
        small = replace(small, views=published_trees(sports, small.train))
        return dict(_timed(run, small, rounds, learning))


def _timed(
    run: Callable[[Question], Any], small: Question, rounds: int, learning: float
) -> Iterator[tuple[str, dict[str, float]]]:
    for times in TIMES:
        question = repeated(small, times)
        for tree in question.views.values():
            tree.leaf_similarity  # noqa: B018  (a property of the trees, made once per run)
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        seconds = []
        for _ in range(rounds):
            start = time.process_time()
            run(question)
            seconds.append(time.process_time() - start)
        pairs, median = len(question.candidates), statistics.median(seconds)
        memory = _resident("VmHWM") - before
        yield (
            str(times),
            {"pairs": pairs, "seconds": median, "pairs/s": pairs / median, "MiB": memory, "learning": learning},
        )


def _resident(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(field))) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_argument(parser)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rows: list[list[str]] = []
    found: dict[str, Any] = {}
    for name in JUDGES:
        sizes = found[name] = measure(given, name)
        first, last = (sizes[str(times)] for times in (TIMES[0], TIMES[-1]))
        exponent = np.log(last["seconds"] / first["seconds"]) / np.log(last["pairs"] / first["pairs"])
        for one in sizes.values():
            bytes_per_pair = one["MiB"] * 2**20 / one["pairs"]
            row = [f"{one['pairs']:,}", f"{one['seconds']:.2f}", f"{one['pairs/s']:,.0f}", f"{bytes_per_pair:.0f}"]
            rows.append([name, *row, f"{one['learning']:.1f}", f"{exponent:.2f}"])
            print(*rows[-1], sep="  ", flush=True)
    headers = ["judge", "pairs", "processor seconds", "pairs/s", "bytes/pair", "learning, s", "exponent of time"]
    write_results("judge_speed", {"machine": machine(1), **found}, table(headers, rows))


if __name__ == "__main__":
    main()
