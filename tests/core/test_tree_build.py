"""Growing a tree always ends, keeps its bounds, and loses no item."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.preparation.growing import StructureTree
from recbole_dtlns.trees.build import TreeShape, balance_by_regret, build_tree


def node_sizes(paths: list[str]) -> dict[tuple[str, ...], int]:
    """Number of items below every node, by its prefix; the root is ()."""
    sizes: Counter[tuple[str, ...]] = Counter()
    for path in paths:
        digits = path.split("-")
        sizes.update(tuple(digits[:depth]) for depth in range(len(digits) + 1))
    return dict(sizes)


@st.composite
def assignments(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Children, distances, and bounds that can be met; distances may tie and need not fit the children."""
    n, k = draw(st.integers(1, 40)), draw(st.integers(2, 5))
    distances = draw(arrays(np.float64, (n, k), elements=st.sampled_from([0.0, 1.0, 2.5]) | st.floats(0, 1e6)))
    nearest = draw(st.booleans())
    children = distances.argmin(axis=1) if nearest else draw(arrays(np.int64, n, elements=st.integers(0, k - 1)))
    low = draw(st.integers(0, n // k))
    high = draw(st.integers(math.ceil(n / k), n))
    return children, distances, low, high


@given(assignments())
@settings(max_examples=300)
def test_regret_balancing_meets_the_bounds(case: tuple[np.ndarray, np.ndarray, int, int]) -> None:
    """It ends with every child inside its bounds, and moves no more items than are too many or missing."""
    children, distances, low, high = case
    before = children.copy()
    sizes = np.bincount(before, minlength=distances.shape[1])
    balance_by_regret(children, distances, low, high)
    after = np.bincount(children, minlength=distances.shape[1])
    assert after.min() >= low
    assert after.max() <= high
    misplaced = np.maximum(sizes - high, 0).sum() + np.maximum(low - sizes, 0).sum()
    assert (children != before).sum() <= misplaced


@pytest.mark.parametrize(("n", "k"), [(1, 2), (5, 5), (37, 4), (400, 4)])
def test_regret_balancing_ends_when_all_distances_are_equal(n: int, k: int) -> None:
    """All items alike is where the published loop runs for ever."""
    children = np.zeros(n, dtype=np.int64)
    balance_by_regret(children, np.zeros((n, k)), n // k, math.ceil(n / k))
    sizes = np.bincount(children, minlength=k)
    assert set(sizes.tolist()) <= {n // k, math.ceil(n / k)}


def test_regret_balancing_moves_the_items_that_lose_least() -> None:
    """Known answer: two of four items must leave child 0, and those whose distance grows least do, to where it does.

    Not those nearest to another centre: item 0 is nearer to centre 1 than item 1 is, but far nearer to its own.
    """
    children = np.array([0, 0, 0, 0, 1, 2])
    distances = np.array(
        [[0, 3, 9], [5, 7, 9], [0, 9, 8], [4, 9, 5], [9, 0, 9], [9, 9, 0]], dtype=float
    )  # growth: item 3 to child 2 by 1, item 1 to child 1 by 2, item 0 to child 1 by 3
    balance_by_regret(children, distances, 2, 2)
    assert children.tolist() == [0, 1, 0, 2, 1, 2]


def test_regret_balancing_fills_a_small_child_with_the_items_that_lose_least() -> None:
    """Known answer: nothing is too large, but child 1 lacks two items and takes the nearest ones."""
    children = np.array([0, 0, 0, 0, 0])
    distances = np.array([[0, 5], [0, 1], [0, 7], [0, 2], [0, 9]], dtype=float)
    balance_by_regret(children, distances, 2, 5)
    assert children.tolist() == [0, 1, 0, 1, 0]


def test_regret_balancing_leaves_a_balanced_split_alone() -> None:
    """Inside the bounds k-means is kept, even where another child is nearer."""
    children = np.array([0, 0, 1, 1])
    balance_by_regret(children, np.array([[9.0, 0], [9, 0], [0, 9], [0, 9]]), 1, 3)
    assert children.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("min_share", "max_share", "sizes"),
    [
        (0.2, 1.8, [90, 10]),  # a tenth of the items each lies in its own cluster: inside the bounds, k-means is kept
        (0.5, 1.8, [75, 25]),  # the small child lacks items: half of a fair share
        (0.2, 1.3, [65, 35]),  # the large child has too many: 1.3 fair shares
    ],
)
def test_children_may_be_as_uneven_as_their_shares_allow(min_share: float, max_share: float, sizes: list[int]) -> None:
    vectors = np.repeat(np.float32([[0, 0], [9, 9]]), [90, 10], axis=0)
    vectors += np.random.default_rng(0).normal(size=vectors.shape).astype(np.float32) / 10
    shape = TreeShape(branching=2, leaf_size=95, min_share=min_share, max_share=max_share)
    tree, facts = build_tree(vectors, shape)
    assert sorted(np.bincount(tree.digits[:, 0]), reverse=True) == sizes
    assert facts["moved_share"] == round((90 - sizes[0]) / 100, 4)


def test_the_share_of_moved_items_is_over_all_nodes() -> None:
    """Two nodes of a hundred items each are split evenly by k-means, and each of them then has to part 90 to 10."""
    corners = np.float32([[0, 0], [9, 9], [1000, 0], [1009, 9]])
    vectors = np.repeat(corners, [90, 10, 90, 10], axis=0)
    vectors += np.random.default_rng(0).normal(size=vectors.shape).astype(np.float32) / 10
    _, facts = build_tree(vectors, TreeShape(branching=2, leaf_size=95, min_share=1.0, max_share=1.0))
    assert facts["moved_share"] == (40 + 40) / 400


few_values = st.sampled_from([0.0, 1.0, -1.0])  # many equal vectors
any_value = st.floats(-1e6, 1e6, width=32)


@st.composite
def vectors_and_shape(draw: st.DrawFn) -> tuple[np.ndarray, TreeShape]:
    size = (draw(st.integers(1, 50)), draw(st.integers(1, 3)))
    vectors = draw(arrays(np.float32, size, elements=draw(st.sampled_from([few_values, any_value]))))
    shape = TreeShape(
        branching=draw(st.integers(2, 5)),
        leaf_size=draw(st.integers(1, 12)),
        balance=draw(st.sampled_from(["regret", "authors"])),
        min_share=draw(st.floats(0, 1)),
        max_share=draw(st.floats(1, 8)),
    )
    return vectors, shape


@given(vectors_and_shape())
@settings(max_examples=80)
def test_every_tree_ends_with_small_leaves(case: tuple[np.ndarray, TreeShape]) -> None:
    """Whatever the vectors and the shape: it ends, every item has a path, and no leaf is larger than asked for."""
    vectors, shape = case
    reported: list[int] = []
    tree, facts = build_tree(vectors, shape, reported.append)
    leaf_sizes = Counter(tree.paths)
    assert len(tree.paths) == len(vectors)
    assert all(tree.paths)
    assert max(leaf_sizes.values()) <= shape.leaf_size
    assert facts["leaves"] == len(leaf_sizes) == len(reported)
    assert sum(reported) == len(vectors)
    assert facts["without_path"] == 0
    assert 0 <= facts["moved_share"] <= 1


@given(vectors_and_shape())
@settings(max_examples=40)
def test_regret_keeps_every_child_within_its_share(case: tuple[np.ndarray, TreeShape]) -> None:
    """Every child of every node has between min_share and max_share times the mean size, up to whole items."""
    vectors, shape = case
    shape = shape.model_copy(update={"balance": "regret"})
    sizes = node_sizes(build_tree(vectors, shape)[0].paths)
    for node, size in sizes.items():
        if size <= shape.leaf_size:
            continue
        children = [child for child in sizes if len(child) == len(node) + 1 and child[:-1] == node]
        mean = size / min(shape.branching, size)
        assert len(children) >= 2
        assert all(
            math.floor(shape.min_share * mean) <= sizes[child] <= math.ceil(shape.max_share * mean)
            for child in children
        )


@given(vectors_and_shape())
@settings(max_examples=40)
def test_the_authors_rule_lets_no_child_exceed_its_share(case: tuple[np.ndarray, TreeShape]) -> None:
    """However many children are too large; there is no lower bound."""
    vectors, shape = case
    shape = shape.model_copy(update={"balance": "authors", "min_share": 0.4})
    sizes = node_sizes(build_tree(vectors, shape)[0].paths)
    for node, size in sizes.items():
        mean = size / min(shape.branching, size)
        children = [child for child in sizes if len(child) == len(node) + 1 and child[:-1] == node]
        if size > shape.leaf_size:
            assert all(sizes[child] <= max(math.ceil(mean), int(shape.max_share * mean)) for child in children)


def test_the_authors_rule_takes_items_out_of_every_child_that_is_too_large() -> None:
    """Known answer: two clusters of six, four children, three items each at most."""
    vectors = np.repeat(np.eye(2), 6, axis=0)
    tree, facts = build_tree(vectors, TreeShape(leaf_size=3, balance="authors", max_share=1))
    assert sorted(Counter(tree.paths).values()) == [3, 3, 3, 3]
    assert facts["moved_share"] == 6 / 12


@pytest.mark.parametrize("balance", ["regret", "none", "authors"])
def test_the_same_vectors_give_the_same_tree(balance: str) -> None:
    """Trees are artefacts that later stages name by content, so building twice must not differ."""
    vectors = np.random.default_rng(3).standard_normal((150, 8))
    shape = TreeShape(leaf_size=10, balance=balance)
    first, second = build_tree(vectors, shape), build_tree(vectors.copy(), shape)
    assert first[0].paths == second[0].paths
    assert first[1] == second[1]


def test_clusters_become_subtrees() -> None:
    """Known answer: four far clusters of one size are the root's four children, whatever the balancing."""
    random = np.random.default_rng(0)
    cluster = random.permutation(np.repeat(np.arange(4), 15))
    vectors = np.eye(4)[cluster] * 100 + random.standard_normal((60, 4))
    for balance in ("regret", "none", "authors"):
        tree, facts = build_tree(vectors, TreeShape(leaf_size=15, balance=balance))
        assert len(set(zip(tree.paths, cluster.tolist(), strict=True))) == len(set(tree.paths)) == 4
        assert facts["moved_share"] == 0


@pytest.mark.parametrize("balance", ["regret", "none", "authors"])
@pytest.mark.parametrize("n_items", [1, 2, 30])
def test_a_tree_of_one_leaf(n_items: int, balance: str) -> None:
    """Fewer items than a leaf holds, one item included: all share the path "0", so none is without a path."""
    vectors = np.random.default_rng(0).standard_normal((n_items, 3))
    tree, facts = build_tree(vectors, TreeShape(leaf_size=30, balance=balance))
    assert tree.paths == ["0"] * n_items
    assert (facts["leaves"], facts["max_leaf_size"], facts["moved_share"]) == (1, n_items, 0)


@pytest.mark.parametrize("balance", ["regret", "authors"])
def test_equal_vectors_are_split_and_counted(balance: str) -> None:
    """All vectors equal, where the published code hangs: small leaves, and the facts say that nothing was learnt."""
    tree, facts = build_tree(np.ones((100, 4)), TreeShape(leaf_size=10, balance=balance))
    sizes = node_sizes(tree.paths)
    assert facts["max_leaf_size"] <= 10
    assert facts["equal_nodes"] == sum(size > 10 for size in sizes.values())


@pytest.mark.parametrize("balance", ["regret", "authors"])
def test_loose_bounds_still_part_equal_vectors(balance: str) -> None:
    """A max_share that lets one child hold everything must not leave a leaf larger than leaf_size."""
    shape = TreeShape(branching=2, leaf_size=5, balance=balance, min_share=0, max_share=4)
    assert build_tree(np.zeros((40, 2)), shape)[1]["max_leaf_size"] <= 5


def test_without_balancing_equal_vectors_stay_together_and_are_reported() -> None:
    """`none` is k-means as it is: items that it cannot part end in one large leaf, visible in the facts."""
    tree, facts = build_tree(np.ones((50, 2)), TreeShape(leaf_size=10, balance="none"))
    assert set(tree.paths) == {"0"}
    assert (facts["max_leaf_size"], facts["equal_nodes"]) == (50, 1)


def test_authors_balancing_moves_the_last_items_to_the_smallest_child() -> None:
    """Known answer of the published rule: eight equal items, cap 3: 7, 6, 5, 4, 3 go round the other children."""
    tree, facts = build_tree(np.zeros((8, 2)), TreeShape(leaf_size=3, balance="authors"))
    assert tree.paths == ["0", "0", "0", "2", "1", "3", "2", "1"]
    assert facts["moved_share"] == 5 / 8


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_broken_vectors_are_refused(value: float) -> None:
    """A diverged teacher is named as the cause, with how many vectors and the first of them."""
    vectors = np.zeros((20, 3))
    vectors[[4, 9], 1] = value
    with pytest.raises(DataError, match=r"2 of 20 item vectors hold NaN or infinity \(the first: row 4\).*diverged"):
        build_tree(vectors, TreeShape())


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 1), (0, 8)])
def test_the_narrowest_and_the_widest_bounds_are_shapes(low: float, high: float) -> None:
    """With both bounds at the mean, ninety-six items are parted into equal children at every level."""
    shape = TreeShape(branching=2, leaf_size=3, min_share=low, max_share=high)
    vectors = np.random.default_rng(0).standard_normal((96, 4))
    sizes = node_sizes(build_tree(vectors, shape)[0].paths)
    if high == 1:
        assert {size for node, size in sizes.items() if node} == {48, 24, 12, 6, 3}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"balance": "regrets"}, "balance: .*'regret', 'none' or 'authors', not 'regrets'"),
        ({"branching": 1}, "branching: .*greater than or equal to 2, not 1"),
        ({"leaf_size": 0}, "leaf_size: .*greater than or equal to 1, not 0"),
        ({"leaf_size": 3}, r"leaf_size \(3\) must be at least dtlns_tree_branching \(4\)"),
        ({"min_share": 1.1}, "min_share: .*less than or equal to 1, not 1.1"),
        ({"min_share": -0.1}, "min_share: .*greater than or equal to 0, not -0.1"),
        ({"max_share": 0.9}, "max_share: .*greater than or equal to 1, not 0.9"),
    ],
)
def test_impossible_shapes_are_refused(setting: dict[str, object], message: str) -> None:
    """Shapes that no tree can have fail before any work, with the values given."""
    with pytest.raises(ConfigError, match=message):
        StructureTree(**setting)
