"""Negatives are drawn exactly uniformly from what a user may get, and never from anything else."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from recbole_dtlns.data.item_sets import Forbidden, Observed, PairSet
from recbole_dtlns.errors import DataError
from recbole_dtlns.negatives.pools.uniform import UniformDraws
from recbole_dtlns.numerics.counter_random import counter_uniform

N_ITEMS = 13  # the padding id 0 included
NO_POSITIVE = np.array([0])  # uniform draws do not look at it
Blocked = list[set[int]]


def pair_set(kind: type[PairSet], blocked: Blocked) -> PairSet:
    pairs = np.array([(user, item) for user, items in enumerate(blocked) for item in items], np.int64).reshape(-1, 2)
    return kind.of(pairs[:, 0], pairs[:, 1])


def pool_of(*blocked: Blocked, n_items: int = N_ITEMS) -> UniformDraws:
    union = pair_set(Observed, blocked[0])
    for more in blocked[1:]:
        union = union.union(pair_set(Forbidden, more))
    return UniformDraws(union, len(blocked[0]), n_items)


blocked_items = st.sets(st.integers(1, N_ITEMS - 1), max_size=N_ITEMS - 2)
blocked_by_user = st.lists(blocked_items, min_size=1, max_size=6)


@given(blocked_by_user)
def test_every_free_item_is_reached_by_the_same_share_of_numbers(blocked: Blocked) -> None:
    """Of the middles of n * f equal parts of [0, 1), n give each of the f free items: exact uniformity.

    Users with everything blocked but one item, and with nothing blocked, included.
    """
    pool = pool_of(blocked)
    for user, taken in enumerate(blocked):
        free = [item for item in range(1, N_ITEMS) if item not in taken]
        assert pool.free[user] == len(free)
        parts = (N_ITEMS - 1) * len(free)
        drawn = pool.draw(np.array([user]), NO_POSITIVE, ((np.arange(parts) + 0.5) / parts)[None])[0]
        assert Counter(drawn.tolist()) == dict.fromkeys(free, N_ITEMS - 1)
        assert pool.nth_free(np.array([user]), np.arange(len(free))).tolist() == free


@given(blocked_by_user, st.integers(0, 2**32))
def test_blocked_items_and_padding_are_never_drawn(blocked: Blocked, seed: int) -> None:
    """Whatever the numbers, the ends of [0, 1) included."""
    pool = pool_of(blocked)
    users = np.repeat(np.arange(len(blocked)), 3)
    numbers = counter_uniform(seed, 0, np.arange(len(users)), 40)
    numbers[:, 0], numbers[:, 1] = 0.0, 1 - 2.0**-53
    drawn = pool.draw(users, users, numbers)
    assert drawn.shape == numbers.shape
    assert drawn.dtype == np.int64
    for user, row in zip(users, drawn, strict=True):
        assert set(row.tolist()) <= set(range(1, N_ITEMS)) - blocked[user]


@given(blocked_by_user, st.data())
def test_several_sets_are_united(observed: Blocked, data: st.DataObject) -> None:
    """Observed and forbidden pairs, which may overlap, block together."""
    forbidden = [data.draw(st.sets(st.sampled_from(sorted(items)))) if items else set() for items in observed]
    overlapping = data.draw(st.booleans())
    spared = observed if overlapping else [items - extra for items, extra in zip(observed, forbidden, strict=True)]
    together, one = pool_of(spared, forbidden), pool_of(observed)
    users = np.repeat(np.arange(len(observed)), 2)
    numbers = counter_uniform(7, 0, np.arange(len(users)), 20)
    np.testing.assert_array_equal(together.draw(users, users, numbers), one.draw(users, users, numbers))


def test_nothing_blocked_at_all() -> None:
    """A pool without any blocked pair draws from all items."""
    pool = pool_of([set(), set()])
    assert set(pool.draw(np.array([1]), NO_POSITIVE, np.linspace(0, 0.999, 200)[None])[0].tolist()) == set(
        range(1, N_ITEMS)
    )


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.97], ids=lambda share: f"{share:.0%} blocked")
def test_draws_are_uniform(share: float) -> None:
    """Chi-square over the free items, with the numbers that training uses; heavy users included."""
    n_items, draws = 201, 200_000
    taken = np.random.default_rng(1).permutation(np.arange(1, n_items))[: int(share * (n_items - 1))]
    pool = pool_of([{5}, set(taken.tolist()), {6}], n_items=n_items)
    users = np.ones(draws // 10, np.int64)
    drawn = pool.draw(users, users, counter_uniform(11, 0, np.arange(draws // 10), 10))
    counts = np.bincount(drawn.ravel(), minlength=n_items)
    free = np.setdiff1d(np.arange(1, n_items), taken)
    assert counts.sum() == counts[free].sum() == draws
    assert chisquare(counts[free]).pvalue > 1e-3


def test_a_user_with_every_item_blocked_is_refused() -> None:
    """Nothing could be drawn for them; the error says how many there are, who is the first, and what to do."""
    everything = set(range(1, N_ITEMS))
    with pytest.raises(DataError, match=r"2 users \(the first: id 1\) have all 12 items blocked.*user_inter_num"):
        pool_of([{3}, everything, {4}, everything])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=30))
def test_a_pair_set_is_a_sorted_set(pairs: list[tuple[int, int]]) -> None:
    """Ordered by user then item, without repeats, of the type asked for."""
    found = Observed.of([user for user, _ in pairs], [item for _, item in pairs])
    assert type(found) is Observed
    assert list(zip(found.users.tolist(), found.items.tolist(), strict=True)) == sorted(set(pairs))
    assert len(found) == len(set(pairs))
