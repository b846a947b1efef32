"""Entries that lie together by group, such as the pairs of every user, and how they are cut into blocks."""

from __future__ import annotations

import numpy as np


def places(groups: np.ndarray) -> np.ndarray:
    """Where every entry stands within its group, from 0, int64 [n].

    Args:
        groups: of the entries, ascending [n].
    """
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def expanded(start: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For lists that lie one after the other, list k from start[k] to start[k + 1]: the entries of the lists of `keys`.

    Returns:
        for every entry, the position in `keys`, and the position of the entry.
    """
    lengths = start[keys + 1] - start[keys]
    rows = np.repeat(np.arange(len(keys)), lengths)
    offset = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return rows, start[keys][rows] + offset


def stretches(length: int, at_once: int) -> list[slice]:
    """Cuts `length` entries into blocks of `at_once`; the last one has what is left."""
    return [slice(start, min(start + at_once, length)) for start in range(0, length, at_once)]


def whole_groups(groups: np.ndarray, at_once: int) -> list[slice]:
    """Cuts entries into blocks of whole groups, each of at most `at_once` entries or of one group.

    Args:
        groups: of the entries, ascending [n].
        at_once: entries of a block.
    """
    ends = np.append(np.flatnonzero(groups[1:] != groups[:-1]) + 1, len(groups))
    blocks = []
    start = 0
    while start < len(groups):
        place = int(np.searchsorted(ends, start + at_once, side="right")) - 1
        stop = int(ends[place]) if place >= 0 and ends[place] > start else int(ends[place + 1])
        blocks.append(slice(start, stop))
        start = stop
    return blocks
