"""Pools beside the uniform one: right probabilities, right neighbourhoods, nothing blocked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ConfigError, ContractError
from recbole_dtlns.negatives.pools.contract import PoolContext
from recbole_dtlns.negatives.pools.listed import ListDraws, ListPool
from recbole_dtlns.negatives.pools.popularity import PopularityDraws
from recbole_dtlns.negatives.pools.subtree import SubtreeDraws, SubtreePool
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.pools.uniform import UniformDraws
from recbole_dtlns.numerics.counter_random import counter_uniform
from recbole_dtlns.trees.item_tree import ItemTree

N_ITEMS = 13
blocked_by_user = st.lists(st.sets(st.integers(1, N_ITEMS - 1), max_size=N_ITEMS - 2), min_size=1, max_size=5)


def pairs(by_user: list[set[int]]) -> PairSet:
    users = [user for user, items in enumerate(by_user) for _ in items]
    return PairSet.of(np.array(users, np.int64), np.array([item for items in by_user for item in items], np.int64))


@settings(deadline=None, max_examples=30)
@given(blocked_by_user, st.lists(st.integers(0, 50), min_size=N_ITEMS, max_size=N_ITEMS), st.sampled_from([0, 0.75, 1]))
def test_popularity_has_the_stated_probabilities(blocked: list[set[int]], counts: list[int], power: float) -> None:
    """On a fine grid of numbers every unblocked item gets its share max(count, 1) ** power of the user's unblocked."""
    pool = PopularityDraws(pairs(blocked), len(blocked), N_ITEMS, np.array(counts), power)
    grid = (np.arange(200_000) + 0.5) / 200_000
    for user, taken in enumerate(blocked):
        free = [item for item in range(1, N_ITEMS) if item not in taken]
        weights = {item: max(counts[item], 1) ** power for item in free}
        drawn = Counter(pool.draw(np.array([user]), np.array([0]), grid[None])[0].tolist())
        assert set(drawn) <= set(free)
        for item in free:
            assert drawn[item] / len(grid) == pytest.approx(weights[item] / sum(weights.values()), abs=2e-3)


def test_a_high_power_of_popularity_does_not_overflow() -> None:
    """It makes the most popular item all but certain."""
    assert PopularityDraws(pairs([set()]), 1, 4, np.array([0, 10**5, 2, 3]), 70.0).probability[1] > 0.99


def test_popularity_by_chi_square_where_most_is_blocked() -> None:
    """With the numbers that training uses; popular items are among the blocked."""
    n_items, draws = 201, 200_000
    counts = np.arange(n_items)
    taken = set(range(40, n_items))
    pool = PopularityDraws(pairs([set(), taken]), 2, n_items, counts, 1.0)
    users = np.ones(draws // 10, np.int64)
    drawn = pool.draw(users, users, counter_uniform(5, 0, np.arange(len(users)), 10))
    expected = np.maximum(counts[1:40], 1)
    found = np.bincount(drawn.ravel(), minlength=n_items)
    assert found[1:40].sum() == draws
    assert chisquare(found[1:40], expected / expected.sum() * draws).pvalue > 1e-3


@given(blocked_by_user)
def test_free_before_counts(blocked: list[set[int]]) -> None:
    pool = UniformDraws(pairs(blocked), len(blocked), N_ITEMS)
    users, items = np.arange(len(blocked))[:, None], np.arange(1, N_ITEMS + 1)[None]
    expected = [[sum(i not in taken for i in range(1, item)) for item in range(1, N_ITEMS + 1)] for taken in blocked]
    np.testing.assert_array_equal(pool.free_before(users, items), expected)


@settings(deadline=None)
@given(blocked_by_user, st.data())
def test_lists_give_listed_items_equally_often(blocked: list[set[int]], data: st.DataObject) -> None:
    """And users whose list is empty, or wholly blocked, all that is not blocked."""
    listed = [data.draw(st.sets(st.integers(1, N_ITEMS - 1))) for _ in blocked]
    pool = ListDraws(pairs(listed), pairs(blocked), len(blocked), N_ITEMS)
    for user, taken in enumerate(blocked):
        free = set(range(1, N_ITEMS)) - taken
        wanted = (listed[user] - taken) or free
        parts = (N_ITEMS - 1) * len(wanted)
        grid = (np.arange(parts) + 0.5) / parts
        drawn = Counter(pool.draw(np.array([user]), np.array([0]), grid[None])[0].tolist())
        assert drawn == dict.fromkeys(wanted, parts // len(wanted))


def test_a_list_is_its_users_own_however_many_users_there_are() -> None:
    """More users than items: what is blocked for one is not taken from another's list."""
    n_users = 3 * N_ITEMS
    pool = ListDraws(pairs([{4, 5}] * n_users), pairs([{5}] * N_ITEMS + [{4}] * 2 * N_ITEMS), n_users, N_ITEMS)
    users = np.arange(n_users)
    drawn = pool.draw(users, users, np.tile(np.linspace(0, 0.99, 8), (n_users, 1)))
    assert (drawn == np.where(users < N_ITEMS, 4, 5)[:, None]).all()


PATHS = ["", "0-0-0", "0-0-1", "0-0-1", "0-1", "0-1", "0-1", "1-0", "1-0", "1-1-0", "1-1-0", "1-1-1", ""]


SHALLOW = ["", "0", "1-0-0", "1-0-1", "0", "", "1-1", "0", "1-1", "2", "3-0", "3-0", "3-1"]


def plain_shared(paths: list[str], first: int, second: int) -> int:
    """Leading codes that two items share; items in one leaf share all, however many are asked for."""
    if paths[first] == paths[second]:
        return 99
    a, b = paths[first].split("-"), paths[second].split("-")
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def plain_subtree(paths: list[str], free: set[int], positive: int, depth: int) -> set[int]:
    """The free items of the smallest subtree around the positive, of the depth asked for or less, that has any."""
    for level in range(depth if paths[positive] else 0, 0, -1):
        near = {item for item in free if paths[item] and plain_shared(paths, positive, item) >= level}
        if near:
            return near
    return free


@pytest.mark.parametrize("paths", [PATHS, SHALLOW], ids=["deep", "shallow"])
@settings(deadline=None, max_examples=15)
@given(taken=st.sets(st.integers(1, N_ITEMS - 1), max_size=N_ITEMS - 2))
def test_subtrees_are_drawn_from_uniformly(paths: list[str], taken: set[int]) -> None:
    """Around every positive, at every depth; below a leaf there is nothing smaller.

    An item without a path has the whole catalogue around it, and is in nobody's subtree.
    """
    tree = ItemTree.from_paths(paths[1:])
    free = set(range(1, N_ITEMS)) - taken
    for depth in range(5):
        pool = SubtreeDraws(pairs([taken]), 1, N_ITEMS, [tree], np.arange(N_ITEMS) - 1, share=1.0, depths=[depth])
        for positive in range(1, N_ITEMS):
            subtree = plain_subtree(paths, free, positive, depth)
            grid = (np.arange(len(subtree) * 7) + 0.5) / (len(subtree) * 7)
            drawn = Counter(pool.draw(np.array([0]), np.array([positive]), grid[None])[0].tolist())
            assert drawn == dict.fromkeys(subtree, 7)


def test_the_share_of_columns_and_the_turns() -> None:
    """Of ten candidates six come from subtrees, in turns over depths and trees; the others are the uniform pool's."""
    first, second = ItemTree.from_paths(PATHS[1:]), ItemTree.from_paths(PATHS[:0:-1])
    place = np.arange(N_ITEMS) - 1
    nothing = pairs([set()])
    pool = SubtreeDraws(nothing, 1, N_ITEMS, [first, second], place, share=0.6, depths=[1, 2])
    users = np.zeros(4000, np.int64)
    positives = np.full(4000, 4)
    numbers = counter_uniform(0, 0, np.arange(4000), 10)
    drawn = pool.draw(users, positives, numbers)
    uniform = UniformDraws(nothing, 1, N_ITEMS).draw(users, positives, numbers[:, :4])
    np.testing.assert_array_equal(drawn[:, :4], uniform)
    mirrored = dict(enumerate(["", *PATHS[:0:-1]]))
    by_column = [set(column.tolist()) for column in drawn.T]
    assert by_column[4] == by_column[8] == {item for item in range(1, 13) if PATHS[item].startswith("0")}
    assert by_column[6] == {4, 5, 6}
    in_second = mirrored[4]
    assert by_column[5] == by_column[9] == {item for item in range(1, 13) if mirrored[item][:1] == in_second[:1]}
    assert by_column[7] == {item for item in range(1, 13) if mirrored[item][:3] == in_second[:3]}


BLOCKED = pairs([{2, 3}, set(), {7}])
LISTED = pairs([{4, 5}, {9}, {7, 8, 10}])
COUNTS = np.arange(N_ITEMS) ** 2
TREES = {"structure": ItemTree.from_paths(PATHS[1:]), "semantic": ItemTree.from_paths(PATHS[:0:-1])}
PLACE = np.arange(N_ITEMS) - 1


def subtrees(*trees: str) -> SubtreeDraws:
    return SubtreeDraws(BLOCKED, 3, N_ITEMS, [TREES[tree] for tree in trees], PLACE, 0.5, [2, 1])


@pytest.mark.parametrize(
    ("name", "keys", "expected"),
    [
        ("uniform", {}, lambda: UniformDraws(BLOCKED, 3, N_ITEMS)),
        ("popularity", {}, lambda: PopularityDraws(BLOCKED, 3, N_ITEMS, COUNTS, 0.5)),
        ("file", {}, lambda: ListDraws(LISTED, BLOCKED, 3, N_ITEMS)),
        ("tree", {"pool_tree": "structure"}, lambda: subtrees("structure")),
        ("tree", {"pool_tree": "semantic"}, lambda: subtrees("semantic")),
        ("tree", {"pool_tree": "both"}, lambda: subtrees("structure", "semantic")),
    ],
)
def test_a_pools_name_and_settings_make_it(name: str, keys: dict[str, str], expected: Callable[[], Any]) -> None:
    """It draws what the pool draws that is made by hand: from the right trees, by the right power, share and depths."""
    flat = {"pool_power": 0.5, "pool_tree_share": 0.5, "pool_depths": [2, 1], "pool_file": "lists.tsv", **keys}
    files = {"lists.tsv": LISTED}
    context = PoolContext(BLOCKED, 3, N_ITEMS, COUNTS, TREES, PLACE, files.__getitem__)
    users = np.arange(300) % 3
    positives = 1 + np.arange(300) % (N_ITEMS - 1)
    numbers = counter_uniform(3, 0, np.arange(300), 8)
    pool = POOLS.make(name, flat)
    pool.begin(context)
    np.testing.assert_array_equal(pool.draw(users, positives, numbers), expected().draw(users, positives, numbers))


def test_a_pool_of_a_file_needs_the_file() -> None:
    with pytest.raises(ConfigError, match="dtlns_pool: file needs dtlns_pool_file"):
        ListPool().begin(PoolContext(BLOCKED, 3, N_ITEMS, COUNTS))


@pytest.mark.parametrize(
    ("views", "places", "message"),
    [
        ({}, PLACE, "asks for the item tree 'structure', and there is none: set reads_trees = True"),
        ({"semantic": TREES["semantic"]}, PLACE, "'structure', and there are only semantic"),
        (TREES, None, "not where each item stands in them"),
    ],
)
def test_a_pool_that_lacks_what_it_reads_says_so(views: Any, places: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        SubtreePool().begin(PoolContext(BLOCKED, 3, N_ITEMS, COUNTS, views, places))


def test_only_pools_that_draw_alike_for_all_say_with_what_probability() -> None:
    context = PoolContext(BLOCKED, 3, N_ITEMS, COUNTS, TREES, PLACE, lambda _: LISTED)
    for name, pool_class in POOLS.importable():
        pool = POOLS.make(name, {"pool_file": "lists.tsv"})
        pool.begin(context)
        assert (pool.probability is not None) == pool.shareable, pool_class
        if pool.probability is not None:
            assert pool.probability[0] == 0 and pool.probability.sum() == pytest.approx(1)
