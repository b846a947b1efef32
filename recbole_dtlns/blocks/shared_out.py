"""Blocks that are shared out in tasks, some in a row for each; what comes back is kept at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from recbole_dtlns.blocks.in_tasks import Arrays, OnBlock, joined
from recbole_dtlns.blocks.work import Give, Progress
from recbole_dtlns.storage.parts import parts_at_hand

Tasks = Mapping[range, Sequence[Any]]  # numbers of some blocks in a row, and what is given for each


class CarryOut(Protocol):
    """Does tasks, wherever that is."""

    def __call__(
        self, function: OnBlock, shared: Any, tasks: Tasks, work: str, /
    ) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        """The results of every task, as they come."""


class SharedOut:
    """Workers that are given several blocks in a task; what was done for the same artefact before is not done again.

    Args:
        carry_out: does the tasks.
        blocks_per_task: how many blocks a task has at most; no result depends on it.
        tasks: where no number of blocks is given, into how many tasks a whole work is cut.
    """

    def __init__(self, carry_out: CarryOut, blocks_per_task: int | None = None, tasks: int = 1) -> None:
        self._carry_out, self._blocks_per_task, self._tasks = carry_out, blocks_per_task, tasks

    def __call__(
        self, function: OnBlock, shared: Any, blocks: Sequence[slice], work: str, progress: Progress, give: Give
    ) -> dict[str, np.ndarray]:
        parts = parts_at_hand()
        kept = _InMemory(len(blocks)) if parts is None else parts.of(work, blocks)
        for part in kept.done:
            progress(_length(blocks, part))
        step = self._blocks_per_task or max(1, -(-len(blocks) // self._tasks))
        missing = [
            range(first, min(first + step, gap.stop))
            for gap in kept.missing()
            for first in range(gap.start, gap.stop, step)
        ]
        if missing:
            for part, arrays in self._carry_out(function, shared, _GivenInTurn(missing, blocks, give), work):
                kept.keep(part, arrays)
                progress(_length(blocks, part))
        return kept.joined()


class _GivenInTurn(Tasks):
    """Tasks whose blocks are given what they read when they are asked for: whoever waits holds nothing."""

    def __init__(self, parts: Sequence[range], blocks: Sequence[slice], give: Give) -> None:
        self._parts, self._blocks, self._give = parts, blocks, give

    def __getitem__(self, part: range) -> Sequence[Any]:
        return [self._give(self._blocks[number]) for number in part]

    def __iter__(self) -> Iterator[range]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


class _InMemory:
    """Results of a work that no artefact is made of."""

    done: tuple[range, ...] = ()

    def __init__(self, n_blocks: int) -> None:
        self._n_blocks = n_blocks
        self._found: dict[range, Arrays] = {}

    def missing(self) -> list[range]:
        return [range(self._n_blocks)]

    def keep(self, part: range, arrays: Arrays) -> None:
        self._found[part] = arrays

    def joined(self) -> dict[str, np.ndarray]:
        return joined([self._found[part] for part in sorted(self._found, key=lambda part: part.start)])


def _length(blocks: Sequence[slice], part: range) -> int:
    return int(blocks[part.stop - 1].stop - blocks[part.start].start)
