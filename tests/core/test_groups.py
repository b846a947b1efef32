"""Places within groups."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_dtlns.numerics.groups import places


@given(st.lists(st.integers(0, 9)))
def test_entries_are_counted_within_their_group(drawn: list[int]) -> None:
    groups = sorted(drawn)
    counted: dict[int, int] = {}
    expected = []
    for group in groups:
        expected.append(counted.get(group, 0))
        counted[group] = expected[-1] + 1
    assert places(np.array(groups, dtype=np.int64)).tolist() == expected
