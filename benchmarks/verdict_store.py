"""What the verdict store costs: beside an engine that answers 2,000 pairs a second, and when ten million are resumed.

Overhead: an engine that takes exactly 1/2000 s per request is called alone, then through the LLM judge (planning, keys,
reading replies, one row on disk per reply, label card), in turns; the ratio of the medians counts.
Resuming: a process of its own judges a question whose verdicts are all stored, and reports seconds and its peak memory,
question included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.judges.language_model import verdict_store
from recbole_dtlns.judges.language_model.answers import Answer
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.llm.engine import Engine
from recbole_dtlns.llm.reply import Reply
from recbole_dtlns.llm.request import Request
from recbole_dtlns.storage.whole_files import write_atomically
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.trees.item_tree import ItemTree

RESULTS = Path(__file__).parent / "results" / "verdict_store.json"
RATE = 2000
CANDIDATES = 20
HISTORY = 10


def random_question(users: int, items: int = 50_000) -> Question:
    """`users` users with 10 items and 20 candidates each, items in random leaves of two trees."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, items, (users, HISTORY))
    matrix = sp.csr_array(
        (np.ones(drawn.size, np.float32), (np.repeat(np.arange(users), HISTORY), drawn.ravel())), shape=(users, items)
    )
    matrix.data[:] = 1
    train = TrainInteractions(
        np.array([f"u{user:07d}" for user in range(users)]), np.array([f"i{item:06d}" for item in range(items)]), matrix
    )
    n = users * CANDIDATES
    candidates = Candidates(
        np.repeat(np.arange(users, dtype=np.int32), CANDIDATES),
        random.integers(0, items, n, dtype=np.int32),
        np.tile(np.arange(CANDIDATES, dtype=np.int32), users),
        np.zeros(n, dtype=np.float32),
    )
    trees = {name: ItemTree(random.integers(0, 4, (items, 6)).astype(np.int16)) for name in ("structure", "semantic")}
    return Question(train, candidates, trees)


class Metronome(Engine):
    """An engine that takes 1/2000 s for every request."""

    name = "metronome"
    mode, truncated = "log-probabilities", 0

    def __init__(self) -> None:
        super().__init__(model="none")

    @contextmanager
    def start(self) -> Iterator[Metronome]:
        yield self

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        # In batches of 200, as an engine with prefix caching would; sleeping is precise enough at a tenth of a second.
        for start in range(0, len(requests), 200):
            batch = range(start, min(start + 200, len(requests)))
            time.sleep(len(batch) / RATE)
            for position in batch:
                yield position, Reply(probabilities=(0.25, 0.75), tokens=20)


def overhead(users: int, rounds: int) -> dict[str, float]:
    question = random_question(users)
    alone, judged = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            judge = LLMJudge(engine=Metronome(), cache_dir=folder)
            plan = judge.plan(question)
            everything = plan.missing(np.zeros(len(question.candidates), dtype=bool))
            requests = [inquiry.request() for inquiry in plan.inquiries(everything)]
            start = time.perf_counter()
            for _reply in Metronome().answer(requests):
                pass
            alone.append(time.perf_counter() - start)
            start = time.perf_counter()
            judge.judge(question)
            judged.append(time.perf_counter() - start)
    engine, whole = statistics.median(alone), statistics.median(judged)
    return {
        "requests": len(requests),
        "engine alone": engine,
        "through the judge": whole,
        "overhead": whole / engine - 1,
    }


def resume(users: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            pool.apply(_store_all, (folder, users))
        with context.Pool(1) as pool:
            return pool.apply(_resume, (folder, users))


def _store_all(folder: str, users: int) -> None:
    """Write the shard that asking everything would have left."""
    judge = LLMJudge(engine=Metronome(), cache_dir=folder)
    plan = judge.plan(random_question(users))
    rows = np.zeros(len(plan.keys), dtype=verdict_store.ROW)
    rows["key"], rows["probability"], rows["tokens"] = plan.keys, 0.25, 20
    with judge.store().lock(), judge.store().writer("metronome", "log-probabilities") as shard:
        shard.append([plan.keys[0].tobytes()], [Answer.of(0.25, 20)])  # its header, and one row
    for start in range(1, len(rows), 1 << 20):
        part = rows[start : start + (1 << 20)]
        part["check"] = verdict_store._crc32(part)
        with shard.path.open("ab") as stream:
            stream.write(part.tobytes())


def _resume(folder: str, users: int) -> dict[str, float]:
    question = random_question(users)
    start = time.perf_counter()
    verdicts = LLMJudge(engine=Metronome(), cache_dir=folder).judge(question)
    seconds = time.perf_counter() - start
    if verdicts.facts["asked"] or verdicts.counts()["negative"] != len(question.candidates):
        raise SystemExit("a stored verdict was not found")
    return {
        "verdicts": len(question.candidates),
        "seconds": seconds,
        "peak GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=10_000_000, help="to resume")
    parser.add_argument("--asked", type=int, default=20_000, help="to ask, for the overhead")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    found: dict[str, Any] = {"overhead": overhead(given.asked // CANDIDATES, given.rounds)}
    for name, value in found["overhead"].items():
        print(f"{name:<20}{value:12.4g}")
    found["resume"] = resume(given.verdicts // CANDIDATES)
    for name, value in found["resume"].items():
        print(f"{name:<20}{value:12.4g}")
    RESULTS.parent.mkdir(exist_ok=True)
    write_atomically(RESULTS, json.dumps(found, indent=2).encode())


if __name__ == "__main__":
    main()
