"""The stage that fits the teacher shows how far it is, where the teacher tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from block_data import block_interactions

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.preparation.stage import Workbench
from recbole_dtlns.preparation.teaching import Teaching
from recbole_dtlns.storage.artefact_store import ArtefactStore
from recbole_dtlns.teachers.closed_form import ItemWeightTeacher
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.teachers.neighbour_ridge import NeighbourRidge


class OfTrainAlone(Teacher):
    """As a package wrote it before there was a bar: its `fit` takes nothing else."""

    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"teacher": "of train alone"}

    def fit(self, train: TrainInteractions) -> ItemWeightTeacher:
        return NeighbourRidge(dimension=4).fit(train)


@pytest.mark.parametrize(
    ("teacher", "bars"),
    [(NeighbourRidge(dimension=4), ["teacher", "candidates"]), (OfTrainAlone(), ["candidates"])],
    ids=["tells", "does not tell"],
)
def test_a_bar_is_for_teachers_that_tell(teacher: Teacher, bars: list[str], tmp_path: Any) -> None:
    bench = Workbench(block_interactions(), ArtefactStore(tmp_path))
    totals: dict[str, int] = {}
    done: dict[str, int] = {}

    @contextmanager
    def bar(self: Workbench, what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        totals[what], done[what] = total, 0

        def advance(steps: int) -> None:
            done[what] += steps

        yield advance

    with mock.patch.object(Workbench, "bar", bar):
        candidates, _ = Teaching(teacher, candidates=5).run(bench)
    assert len(candidates) > 0
    assert list(totals) == bars
    assert done == totals
