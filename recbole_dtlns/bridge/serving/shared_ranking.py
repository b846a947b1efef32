"""Recommendations by workers, each of which loads the run once: for whoever has more users than one machine serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from recbole_dtlns.blocks.shared_out import CarryOut
from recbole_dtlns.bridge.serving.load_run import load_run
from recbole_dtlns.bridge.serving.trained_run import Exclusion, TrainedRun
from recbole_dtlns.serving.given_histories import read_histories
from recbole_dtlns.serving.recommendations import Recommendations


@dataclass(frozen=True)
class RunToAsk:
    """A run as every worker finds it, on a disk that all share.

    Attributes:
        folder: of the run.
        histories: file of those that it is asked to follow; None for its own.
        allow_leaking, device: as for `load_run`.
        digest: of its files, for workers that may have loaded what was there before; empty where nobody keeps it.
    """

    folder: Path
    histories: Path | None = None
    allow_leaking: bool = False
    device: str | None = None
    digest: str = ""

    def sent(self, digest: str) -> RunToAsk:
        """The same for workers in other folders."""
        histories = None if self.histories is None else self.histories.resolve()
        return replace(self, folder=self.folder.resolve(), histories=histories, digest=digest)

    def load(self) -> TrainedRun:
        """The run.

        Raises:
            DTLNSError: as `load_run` and `read_histories`.
        """
        run = load_run(self.folder, allow_leaking=self.allow_leaking, device=self.device)
        if self.histories is None:
            return run
        return run.following(read_histories(str(self.histories), run.columns, str(run.config["TIME_FIELD"])))


@dataclass(frozen=True)
class Asked:
    """What all workers are asked.

    Attributes:
        run: whom they ask.
        users: tokens.
        k, exclude, candidates: as for `TrainedRun.recommend`.
    """

    run: RunToAsk
    users: Sequence[str]
    k: int
    exclude: Exclusion
    candidates: Sequence[str] | None


def recommended_by(
    carry_out: CarryOut, asked: Asked, columns: tuple[str, str], shards: Mapping[int, slice]
) -> Iterator[tuple[int, Recommendations]]:
    """The recommendations of some shards of the users, as workers bring them.

    Args:
        carry_out: does the tasks.
        asked: of all users.
        columns: what the data set calls users and items.
        shards: from where to where each goes, by number.
    """
    tasks: dict[range, Sequence[slice]] = {range(number, number + 1): [users] for number, users in shards.items()}
    for part, found in carry_out(_ranked, asked, tasks, "recommending"):
        yield part.start, Recommendations(found["users"], found["items"], found["scores"], columns)


def _ranked(asked: Asked, users: slice) -> dict[str, Any]:
    run = _loaded(asked.run)
    found = run.recommend(asked.users[users], asked.k, asked.exclude, asked.candidates)
    return {"users": found.users, "items": found.items, "scores": np.asarray(found.scores, dtype=np.float32)}


@lru_cache(maxsize=1)
def _loaded(run: RunToAsk) -> TrainedRun:
    return run.load()
