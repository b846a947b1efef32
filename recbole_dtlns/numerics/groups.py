"""Entries that lie together by group, such as the pairs of every user, and how they are cut into blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_ORDERED_AT_ONCE = 1_000_000


def places(groups: np.ndarray) -> np.ndarray:
    """Where every entry stands within its group, from 0, int64 [n].

    Args:
        groups: of the entries, ascending [n].
    """
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def in_order(groups: np.ndarray, within: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """What orders entries by group and then by another number: blocks, and for each the positions that fill it.

    Entries that lie together by ascending group already are ordered some groups at a time, without an order of all.

    Args:
        groups, within: of the entries [n]; those that are equal in both stay in the order given.
    """
    together = bool((groups[1:] >= groups[:-1]).all())
    for block in whole_groups(groups, _ORDERED_AT_ONCE) if together else [slice(0, len(groups))]:
        yield block, np.lexsort((within[block], groups[block])) + block.start


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


def of_bounded_size(before: np.ndarray, at_once: int) -> list[slice]:
    """Cuts things of different sizes into blocks whose sizes add up to at most `at_once`, or of one thing.

    Args:
        before: the sizes of all things before each added up, and of all [n + 1].
        at_once: size of a block.
    """
    blocks, start = [], 0
    while start < len(before) - 1:
        most = min(at_once, int(before[-1]) - int(before[start]))  # so that numbers of 32 bits hold the sum
        stop = int(np.searchsorted(before, before[start] + most, side="right")) - 1
        blocks.append(slice(start, max(stop, start + 1)))
        start = blocks[-1].stop
    return blocks


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
