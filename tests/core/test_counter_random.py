"""A draw depends on what it is for, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from recbole_dtlns.numerics.counter_random import counter_uniform

seeds = st.integers(-(2**63), 2**64 - 1)
epochs = st.integers(0, 2**32)
row_lists = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=30)


def plain(seed: int, epoch: int, row: int, slot: int) -> float:
    """The same number in Python integers: SplitMix64 finalisers over seed, epoch, row and slot."""
    bits, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mix(value: int) -> int:
        value = (value + golden) & bits
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & bits
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & bits
        return value ^ (value >> 31)

    key = mix(mix(mix(seed & bits) ^ epoch) ^ row)
    return (mix((key + (slot + 1) * golden) & bits) >> 11) / 2**53


@given(seeds, epochs, row_lists, st.integers(1, 8))
def test_numbers_are_the_documented_hash(seed: int, epoch: int, rows: list[int], slots: int) -> None:
    """In [0, 1), and equal to integer arithmetic: a release that draws other negatives must not go unnoticed."""
    found = counter_uniform(seed, epoch, np.array(rows), slots)
    assert found.shape == (len(rows), slots)
    assert ((found >= 0) & (found < 1)).all()
    assert found.tolist() == [[plain(seed, epoch, row, slot) for slot in range(slots)] for row in rows]


@given(seeds, epochs, row_lists, st.data())
def test_batches_and_their_order_do_not_matter(seed: int, epoch: int, rows: list[int], data: st.DataObject) -> None:
    """Rows drawn together, in parts, in another order, or with more slots get the same numbers."""
    rows_array = np.array(rows)
    whole = counter_uniform(seed, epoch, rows_array, 4)
    cut = data.draw(st.integers(0, len(rows)))
    parts = [counter_uniform(seed, epoch, part, 4) for part in np.split(rows_array, [cut])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = np.array(data.draw(st.permutations(range(len(rows)))))
    np.testing.assert_array_equal(counter_uniform(seed, epoch, rows_array[order], 4), whole[order])
    np.testing.assert_array_equal(counter_uniform(seed, epoch, rows_array, 9)[:, :4], whole)


@pytest.mark.parametrize(
    ("first", "second"),
    [((1, 0, 0), (2, 0, 0)), ((1, 0, 0), (1, 1, 0)), ((1, 0, 0), (1, 0, 500)), ((1, 2, 0), (2, 1, 0))],
    ids=["seed", "epoch", "rows", "seed and epoch swapped"],
)
def test_another_purpose_gives_other_numbers(first: tuple[int, int, int], second: tuple[int, int, int]) -> None:
    """No number repeats, and the two sets are uncorrelated, also for neighbouring seeds and epochs."""
    a, b = (counter_uniform(seed, epoch, np.arange(start, start + 500), 20) for seed, epoch, start in (first, second))
    assert not (a == b).any()
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(a.size)


def test_slots_and_rows_are_independent_and_uniform() -> None:
    """All numbers differ, neighbouring slots and rows are uncorrelated, and a chi-square over 100 bins holds."""
    numbers = counter_uniform(42, 3, np.arange(20_000), 10)
    assert len(np.unique(numbers)) == numbers.size
    limit = 4 / np.sqrt(len(numbers))
    assert np.abs(np.corrcoef(numbers.T) - np.eye(10)).max() < limit
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < limit
    assert chisquare(np.histogram(numbers, bins=100, range=(0, 1))[0]).pvalue > 1e-3
