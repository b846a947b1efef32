"""Item vectors to a balanced item tree by recursive k-means."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from pydantic import Field
from threadpoolctl import threadpool_limits

from recbole_dtlns.components import ComponentConfig, Seed
from recbole_dtlns.errors import DataError
from recbole_dtlns.trees.item_tree import ItemTree
from recbole_dtlns.trees.kmeans import distances_to_means, kmeans_distances

VERSION = 3
_RECENTRINGS = 3


class TreeShape(ComponentConfig):
    """How a tree is grown."""

    prefix = "tree_"

    branching: int = Field(4, ge=2, le=4096)
    """Children per node."""
    leaf_size: int = Field(30, ge=1)
    """A node with at most this many items is a leaf."""
    balance: Literal["regret", "none", "authors"] = "regret"
    """regret: move the items that lose least. none: plain k-means. authors: move arbitrary items, as published."""
    min_share: float = Field(0.4, ge=0, le=1)
    """Smallest child, in multiples of the mean size (regret)."""
    max_share: float = Field(1.6, ge=1)
    """Largest child, in multiples of the mean size (regret, authors)."""
    seed: Seed = 42


def build_tree(
    vectors: np.ndarray, shape: TreeShape, progress: Callable[[int], object] = lambda items: None
) -> tuple[ItemTree, dict[str, Any]]:
    """Split items recursively until every leaf has at most `shape.leaf_size` items.

    Args:
        vectors: float [n_items, d], finite.
        shape: branching, leaf size and balancing.
        progress: called with the number of items that have just reached their leaf.

    Returns:
        the tree, and facts: leaves, depths, leaf sizes, share of item-levels moved by balancing, and the
        number of nodes whose vectors were all equal.

    Raises:
        DataError: a vector holds NaN or infinity (the first such item is named by its position).
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise DataError(
            f"{len(broken)} of {len(vectors)} item vectors hold NaN or infinity (the first: row {broken[0]}); "
            "the teacher that made them has diverged, lower its learning rate or choose another"
        )
    levels: list[np.ndarray] = []  # child of every item, -1 below its leaf
    assigned = moved = equal_nodes = 0
    pending = [(np.arange(len(vectors)), 0)]
    # Threaded reductions of k-means add floats in varying order; one thread keeps trees reproducible.
    with threadpool_limits(limits=1):
        while pending:
            items, level = pending.pop()
            if len(items) <= shape.leaf_size and level > 0:
                progress(len(items))
                continue
            children, moves, all_equal = _split(vectors[items], shape)
            equal_nodes += all_equal
            assigned += len(items)
            moved += moves
            filled = [items[children == child] for child in range(shape.branching)]
            filled = [group for group in filled if len(group)]
            if level == len(levels):
                levels.append(np.full(len(vectors), -1, dtype=np.int16))
            for child, group in enumerate(filled):
                levels[level][group] = child
            if len(filled) == 1:  # a root that is itself a leaf, or k-means (balance none) that cannot part the items
                progress(len(items))
            else:
                pending.extend((group, level + 1) for group in filled)
    tree = ItemTree(np.stack(levels, axis=1))
    facts = {**describe(tree), "moved_share": round(moved / assigned, 4), "equal_nodes": equal_nodes}
    return tree, facts


def describe(tree: ItemTree) -> dict[str, Any]:
    """Counts of a tree for people: leaves, depths, leaf sizes, items without a path."""
    sizes = np.bincount(tree.leaf_of_item[tree.leaf_of_item >= 0], minlength=tree.n_leaves)
    depths = tree.leaf_lengths
    if tree.n_leaves == 0:
        return {"leaves": 0, "without_path": tree.n_items}
    return {
        "leaves": tree.n_leaves,
        "min_depth": int(depths.min()),
        "max_depth": int(depths.max()),
        "min_leaf_size": int(sizes.min()),
        "mean_leaf_size": round(float(sizes.mean()), 2),
        "max_leaf_size": int(sizes.max()),
        "without_path": int((tree.leaf_of_item < 0).sum()),
    }


def _split(vectors: np.ndarray, shape: TreeShape) -> tuple[np.ndarray, int, bool]:
    """Child of every item of a node, how many items balancing moved, and whether all vectors were equal."""
    n = len(vectors)
    if n <= shape.leaf_size:  # only the root can be this small: its one child is the only leaf
        return np.zeros(n, dtype=np.int64), 0, False
    k = min(shape.branching, n)
    all_equal = bool((vectors == vectors[0]).all())
    random = np.random.default_rng(shape.seed)
    distances = np.zeros((n, k)) if all_equal else kmeans_distances(vectors, k, random)
    nearest = distances.argmin(axis=1)
    children = nearest.copy()
    if shape.balance == "regret":
        bounds = _bounds(n, k, shape)
        balance_by_regret(children, distances, *bounds)
        for _ in range(_RECENTRINGS):
            if all_equal or (children == nearest).all():
                break
            # Items that had to move shift the centres, and other items now lie nearer to them.
            distances = distances_to_means(vectors, children, k)
            nearest = distances.argmin(axis=1)
            children = nearest.copy()
            balance_by_regret(children, distances, *bounds)
    elif shape.balance == "authors":
        _balance_as_authors(children, k, min(max(math.ceil(n / k), int(n / k * shape.max_share)), n - 1))
    return children, int((children != nearest).sum()), all_equal


def _bounds(n: int, k: int, shape: TreeShape) -> tuple[int, int]:
    """Smallest and largest child size; always satisfiable for n items in k children, and no child takes them all."""
    low = min(n // k, math.ceil(n / k * shape.min_share))
    high = max(math.ceil(n / k), math.floor(n / k * shape.max_share))
    return low, min(high, n - 1)


def balance_by_regret(children: np.ndarray, distances: np.ndarray, low: int, high: int) -> None:
    """Move items between children, in place, until every child has between `low` and `high` items.

    The regret of a move is how much farther the item then is from its centre; moves are made in the order
    of their regret, first out of children that are too large, then into those that are too small. Every
    move brings one child closer to its bounds and none farther, so it ends.

    Args:
        children: child of every item, int [n]; changed.
        distances: item to centre, float [n, k].
        low, high: bounds, with low * k <= n <= high * k.
    """
    k = distances.shape[1]
    sizes = np.bincount(children, minlength=k)
    for child in range(k):
        if sizes[child] > high:
            members, targets = np.flatnonzero(children == child), np.flatnonzero(sizes < high)
            _move(children, sizes, distances, members, targets, sizes[child] - high, (high, high))
    for child in range(k):
        if sizes[child] < low:
            members = np.flatnonzero((children != child) & (sizes[children] > low))
            _move(children, sizes, distances, members, np.array([child]), low - sizes[child], (low, low))


def _move(
    children: np.ndarray,
    sizes: np.ndarray,
    distances: np.ndarray,
    members: np.ndarray,
    targets: np.ndarray,
    needed: int,
    limits: tuple[int, int],
) -> None:
    """Make the `needed` cheapest moves of members to targets; sources keep, targets reach, at most the limits."""
    min_source, max_target = limits
    regret = distances[np.ix_(members, targets)] - distances[members, children[members]][:, None]
    moved: set[int] = set()
    for flat in np.argsort(regret, axis=None, kind="stable"):
        if len(moved) == needed:
            return
        item, target = int(members[flat // len(targets)]), targets[flat % len(targets)]
        source = children[item]
        if item in moved or sizes[source] <= min_source or sizes[target] >= max_target:
            continue
        children[item] = target
        sizes[source] -= 1
        sizes[target] += 1
        moved.add(item)


def _balance_as_authors(children: np.ndarray, k: int, cap: int) -> None:
    """The published code's rule: while a child exceeds the cap, its last item goes to the smallest child."""
    sizes = np.bincount(children, minlength=k)
    for child in range(k):
        for item in np.flatnonzero(children == child)[::-1]:
            if sizes[child] <= cap:
                break
            target = int(sizes.argmin())
            children[item] = target
            sizes[child] -= 1
            sizes[target] += 1
