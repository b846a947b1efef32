"""A preparation is the same to the last bit however its work is cut, and whoever does it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared_in_blocks import RUNS, cut_small, digests

from recbole_dtlns.blocks.in_tasks import OnBlock, on_blocks
from recbole_dtlns.blocks.shared_out import SharedOut, Tasks
from recbole_dtlns.blocks.work import working_with
from recbole_dtlns.numerics.groups import whole_groups


class Copying:
    """Does tasks on copies, as another machine would, and notes how many blocks each work had."""

    def __init__(self) -> None:
        self.blocks: dict[str, int] = {}

    def __call__(
        self, function: OnBlock, shared: Any, tasks: Tasks, work: str
    ) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        self.blocks[work] = max(sum(map(len, tasks)), self.blocks.get(work, 0))
        function, shared = pickle.loads(pickle.dumps((function, shared)))
        for part in reversed(list(tasks)):
            yield part, on_blocks(function, shared, tasks[part])


WORKS = {
    "learnt": {"strongest", "weights", "candidates", "features", "verdicts", "relabelling"},
    "of a council": {"strongest", "weights", "candidates", "council", "features", "verdicts", "relabelling"},
    "by a rule": {"strongest", "candidates", "similarity", "relabelling"},
}


@pytest.mark.parametrize("name", RUNS)
def test_results_do_not_depend_on_blocks_and_workers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = digests(name, tmp_path / "here")
    copying = Copying()
    with working_with(SharedOut(copying, 1)):
        assert digests(name, tmp_path / "elsewhere") == here
    cut_small(monkeypatch)
    assert digests(name, tmp_path / "cut") == here
    for blocks_per_task in (1, 3):
        with working_with(SharedOut(copying, blocks_per_task)):
            assert digests(name, tmp_path / f"by {blocks_per_task}") == here
    assert copying.blocks.keys() == WORKS[name]
    assert min(copying.blocks.values()) > 1
    assert not list(tmp_path.rglob("*.parts"))


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 100])
def test_groups_are_cut_between_and_never_within(at_once: int) -> None:
    groups = np.array([0, 0, 0, 2, 3, 3, 3, 3, 7])
    blocks = whole_groups(groups, at_once)
    assert [place for block in blocks for place in range(block.start, block.stop)] == list(range(len(groups)))
    of_blocks = [set(groups[block].tolist()) for block in blocks]
    assert sum(map(len, of_blocks)) == len(set(groups.tolist()))
    for block, held in zip(blocks, of_blocks, strict=True):
        assert block.stop - block.start <= at_once or len(held) == 1
    assert whole_groups(groups[:0], at_once) == []
