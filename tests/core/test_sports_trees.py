"""Trees on the published Amazon Sports data: the authors' own can be read, and ours keep neighbours closer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.trees.build import TreeShape, build_tree, describe
from recbole_dtlns.trees.item_tree import ItemTree
from recbole_dtlns.trees.structure import item_graph, structure_vectors


def read_train(sports: Path) -> TrainInteractions:
    lines = (sports / "sports.train.inter").read_text(encoding="utf-8").splitlines()[1:]
    users, items = np.array([line.split("\t") for line in lines]).T
    return TrainInteractions.from_tokens(users, items)


@pytest.mark.parametrize(("name", "leaves"), [("structure", 646), ("semantic", 625)])
def test_published_paths_are_read_as_trees(name: str, leaves: int, sports: Path) -> None:
    """Every one of the 8,439 items has a path, no line is left over, and the leaves are as published."""
    tokens = read_train(sports).item_tokens.tolist()
    tree, unknown = ItemTree.from_file(sports / f"{name}_paths.tsv", tokens)
    facts = describe(tree)
    assert (tree.n_items, unknown, facts["without_path"]) == (8439, 0, 0)
    assert (facts["leaves"], facts["max_leaf_size"]) == (leaves, 30)


def test_our_structure_tree_keeps_neighbours_closer(sports: Path) -> None:
    """Of the same shape as the authors' tree, but an item and its strongest neighbour share a longer prefix.

    Longer than in the authors' tree, and than in ours when it is balanced by their rule: moving the items that lose
    least is what does it. An item's strongest neighbour is the one of largest weight in the item graph.
    """
    train = read_train(sports)
    theirs, _ = ItemTree.from_file(sports / "structure_paths.tsv", train.item_tokens.tolist())
    vectors = structure_vectors(train, 32)
    ours, facts = build_tree(vectors, TreeShape())
    balanced_their_way, _ = build_tree(vectors, TreeShape(balance="authors"))

    graph = item_graph(train)
    linked = np.flatnonzero(np.diff(graph.indptr))
    assert len(linked) > 8000
    weights = [graph.data[graph.indptr[item] : graph.indptr[item + 1]] for item in linked]
    neighbour = np.array(
        [graph.indices[graph.indptr[item] + row.argmax()] for item, row in zip(linked, weights, strict=True)]
    )

    def closeness(tree: ItemTree) -> float:
        return float(tree.similarity(linked, neighbour).mean())

    assert facts["without_path"] == 0
    assert facts["max_leaf_size"] <= 30
    assert abs(ours.n_leaves - theirs.n_leaves) <= 0.2 * theirs.n_leaves
    assert closeness(ours) > closeness(theirs) + 0.02
    assert closeness(ours) > closeness(balanced_their_way) + 0.02
