"""Places within groups, and how entries are ordered and cut by group and by size."""

from __future__ import annotations

from itertools import zip_longest
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_dtlns.numerics import groups as cut
from recbole_dtlns.numerics.groups import in_order, of_bounded_size, places


@given(st.lists(st.integers(0, 9)))
def test_entries_are_counted_within_their_group(drawn: list[int]) -> None:
    groups = sorted(drawn)
    counted: dict[int, int] = {}
    expected = []
    for group in groups:
        expected.append(counted.get(group, 0))
        counted[group] = expected[-1] + 1
    assert places(np.array(groups, dtype=np.int64)).tolist() == expected


@pytest.mark.parametrize("together", [True, False])
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1))
def test_entries_are_ordered_in_blocks_as_they_are_at_once(together: bool, drawn: list[tuple[int, int]]) -> None:
    if together:
        drawn = sorted(drawn, key=lambda entry: entry[0])
    groups, within = np.array(drawn).T
    with mock.patch.object(cut, "_ORDERED_AT_ONCE", 4):
        found = list(in_order(groups, within))
    assert np.concatenate([order for _, order in found]).tolist() == np.lexsort((within, groups)).tolist()
    assert [len(order) for _, order in found] == [block.stop - block.start for block, _ in found]


@given(st.lists(st.integers(0, 5)), st.integers(1, 12))
def test_blocks_are_as_large_as_they_may_be(sizes: list[int], at_once: int) -> None:
    blocks = of_bounded_size(np.append(0, np.cumsum(sizes, dtype=int)), at_once)
    assert [place for block in blocks for place in range(block.start, block.stop)] == list(range(len(sizes)))
    for block, after in zip_longest(blocks, blocks[1:]):
        assert sum(sizes[block]) <= at_once or block.stop - block.start == 1
        assert after is None or sum(sizes[block]) + sizes[after.start] > at_once


def test_sizes_are_added_up_to_the_largest_number_of_32_bits() -> None:
    end = 2**31 - 1
    before = np.array([0, end - 30, end - 20, end - 10, end], dtype=np.int32)
    assert of_bounded_size(before, 1000) == [slice(0, 1), slice(1, 4)]
