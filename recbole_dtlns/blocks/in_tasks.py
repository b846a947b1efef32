"""What a task does with its blocks. Workers import it, so it imports little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from recbole_dtlns.version import __version__

Arrays = Mapping[str, np.ndarray]


class OnBlock(Protocol):
    """What is done with one block; a function of a module, so that workers find it by its name."""

    def __call__(self, shared: Any, block: Any, /) -> Arrays:
        """The block's results by name; the first axis of each goes on from block to block.

        Args:
            shared: what all blocks read; nobody writes to it.
            block: from where to where, a slice; or what `over_blocks` was told to give for it.
        """


def on_blocks(function: OnBlock, shared: Any, blocks: Sequence[Any]) -> dict[str, np.ndarray]:
    """The results of some blocks, one after the other and on one thread, as whoever works on them alone has them."""
    with threadpool_limits(limits=1):
        return joined([function(shared, block) for block in blocks])


def joined(found: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """The results of several blocks by name."""
    return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]}


def in_task(version: str, function: OnBlock, shared: Any, blocks: Sequence[Any]) -> dict[str, np.ndarray]:
    """`on_blocks` for a driver that has this version of the package.

    Raises:
        ImportError: this node has another: its results might be others, too.
    """
    if version != __version__:
        raise ImportError(f"it has recbole_dtlns {__version__}, and the run is of {version}")
    return on_blocks(function, shared, blocks)
