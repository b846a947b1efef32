"""Nodes as tokens: a node is named by the path that leads to it, so no two nodes are taken for one."""

from __future__ import annotations

from recbole_dtlns.trees.codes import TreeCodes
from recbole_dtlns.trees.item_tree import ItemTree


def test_nodes_and_levels_of_a_small_tree() -> None:
    codes = TreeCodes.of(ItemTree.from_paths(["0-3-1", "1", "", "12-0"]))
    assert codes.nodes == [["0", "0-3", "0-3-1"], ["1"], [], ["12", "12-0"]]
    assert codes.depth == 3
    assert codes.level(1) == ["0", "1", "", "12"]
    assert codes.level(2) == ["0-3", "1", "", "12-0"]
    assert codes.level(3) == ["0-3-1", "1", "", "12-0"]


def test_a_tree_that_holds_no_item_has_one_empty_level() -> None:
    codes = TreeCodes.of(ItemTree.from_paths(["", ""]))
    assert (codes.depth, codes.level(1), codes.nodes) == (1, ["", ""], [[], []])
    assert TreeCodes([]).depth == 1
