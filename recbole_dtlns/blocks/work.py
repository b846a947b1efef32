"""The one seam at which stages hand work over that falls into blocks; who does it is decided once for a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np

from recbole_dtlns.blocks.in_tasks import Arrays, OnBlock, joined
from recbole_dtlns.numerics.dense_algebra import side_by_side

Progress = Callable[[int], object]
Give = Callable[[slice], Any]


class Workers(Protocol):
    """Whoever works on blocks."""

    def __call__(
        self, function: OnBlock, shared: Any, blocks: Sequence[slice], work: str, progress: Progress, give: Give, /
    ) -> dict[str, np.ndarray]:
        """As `over_blocks`."""


def over_blocks(
    function: OnBlock,
    shared: Any,
    blocks: Sequence[slice],
    work: str,
    progress: Progress = lambda done: None,
    give: Give = lambda block: block,
) -> dict[str, np.ndarray]:
    """The results of a function on every block, joined in the order of the blocks.

    Blocks are cut by what is in the data alone, and the function sees one at a time: so results are the same to the
    last bit whoever works, on however many blocks at once.

    Args:
        function: what is done with a block.
        shared: what all blocks read, such as arrays; workers elsewhere are sent it once.
        blocks: from where to where, at least one; small enough that a worker holds what one takes.
        work: a name for it, for progress and for what is kept of it.
        progress: called, from this thread, with the length of what is just done.
        give: what the function is given for a block, made in this process and when it is this block's turn: for what
            only the block reads and would be too much to send whole. By default the block itself.

    Returns:
        arrays by name, as the function names them.
    """
    workers = _WORKERS.get() or _ThreadsOfThisProcess()
    return workers(function, shared, blocks, work, progress, give)


@contextmanager
def working_with(workers: Workers) -> Iterator[None]:
    """Within the context, these do what `over_blocks` is given."""
    token = _WORKERS.set(workers)
    try:
        yield
    finally:
        _WORKERS.reset(token)


class _ThreadsOfThisProcess:
    def __call__(
        self, function: OnBlock, shared: Any, blocks: Sequence[slice], work: str, progress: Progress, give: Give
    ) -> dict[str, np.ndarray]:
        found: dict[int, Arrays] = {}

        def one(number: int) -> None:
            found[number] = function(shared, give(blocks[number]))

        with side_by_side() as run:
            run(one, range(len(blocks)), lambda number: progress(blocks[number].stop - blocks[number].start))
        return joined([found[number] for number in range(len(blocks))])


_WORKERS: ContextVar[Workers | None] = ContextVar("who works on blocks", default=None)
