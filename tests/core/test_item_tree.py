"""Paths are kept as they are, similarity is what the paper says, and a bad path file is refused by line."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_python import path_similarity, random_paths

from recbole_dtlns.errors import DataError
from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.trees import item_tree
from recbole_dtlns.trees.build import describe
from recbole_dtlns.trees.item_tree import ItemTree

any_path = st.lists(st.integers(0, 32766), max_size=6).map(lambda digits: "-".join(map(str, digits)))
crowded_path = st.lists(st.integers(0, 2), max_size=4).map(lambda digits: "-".join(map(str, digits)))  # share prefixes
token = st.text(st.characters(exclude_characters="\t\r\n", exclude_categories=["Cs"]), min_size=1, max_size=5)

both_lookups = pytest.mark.parametrize(
    "table_leaves", [0, 4096], ids=["prefixes compared", "leaf table"]
)  # the two ways in which similarity is looked up


def all_pairs(tree: ItemTree) -> np.ndarray:
    items = np.arange(tree.n_items)
    return tree.similarity(items[:, None], items[None])


@given(st.lists(any_path, max_size=20))
def test_paths_round_trip(paths: list[str]) -> None:
    """What is parsed is printed again: depth, order and missing paths included."""
    assert ItemTree.from_paths(paths).paths == paths


@given(st.dictionaries(token, any_path, min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_file_round_trip_in_any_line_order(rows: dict[str, str], random) -> None:
    """A file's lines may come in any order and name items that do not exist; those are counted, not dropped silently.

    Tokens hold any character but tab and line end, U+2028 and U+0085 too.
    """
    lines = list(rows)
    random.shuffle(lines)
    known = sorted(rows)[::2]
    file = Path("paths.tsv")
    file.write_text("item_id\tpath\n" + "".join(f"{item}\t{rows[item]}\n" for item in lines), encoding="utf-8")
    tree, unknown = ItemTree.from_file(file, known)
    assert tree.paths == [rows[item] for item in known]
    assert unknown == len(rows) - len(known)


@both_lookups
@given(paths=st.lists(crowded_path, min_size=1, max_size=25))
def test_similarity_is_the_formula(table_leaves: int, paths: list[str]) -> None:
    """Longest common prefix / shorter path for every pair, whichever way it is looked up."""
    with mock.patch.object(item_tree, "_TABLE_LEAVES", table_leaves):
        found = all_pairs(ItemTree.from_paths(paths))
    expected = np.array([[path_similarity(a, b) for b in paths] for a in paths], dtype=np.float32)
    np.testing.assert_array_equal(found, expected)


@both_lookups
@given(paths=st.lists(crowded_path, min_size=1, max_size=25))
def test_similarity_is_a_similarity(table_leaves: int, paths: list[str]) -> None:
    """Symmetric, in [0, 1], 1 inside a leaf, 0 where an item has no path."""
    with mock.patch.object(item_tree, "_TABLE_LEAVES", table_leaves):
        tree = ItemTree.from_paths(paths)
        found = all_pairs(tree)
    leaf = tree.leaf_of_item
    np.testing.assert_array_equal(found, found.T)
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[(leaf[:, None] == leaf) & (leaf >= 0)] == 1).all()
    assert (found[leaf < 0] == 0).all()


@both_lookups
@given(
    paths=st.lists(crowded_path, min_size=1, max_size=20),
    positions=st.lists(st.integers(-1, 19), min_size=1, max_size=30),
)
def test_tensors_give_the_same_similarity(table_leaves: int, paths: list[str], positions: list[int]) -> None:
    """The view used in training equals the array form; item ids outside the tree are similar to nothing."""
    tree_item = np.minimum(positions, len(paths) - 1)
    with mock.patch.object(item_tree, "_TABLE_LEAVES", table_leaves):
        tree = ItemTree.from_paths(paths)
        view = TreeView(tree, tree_item, "cpu")
        expected = np.where((tree_item >= 0)[:, None] & (tree_item >= 0), all_pairs(tree)[tree_item][:, tree_item], 0)
    ids = torch.arange(len(tree_item))
    found = view.similarity(ids[:, None], ids[None])
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), expected)


@both_lookups
def test_a_tree_without_any_path_is_similar_to_nothing(table_leaves: int) -> None:
    """A path file whose items are all unknown must give zeros, not an error in the middle of training."""
    with mock.patch.object(item_tree, "_TABLE_LEAVES", table_leaves):
        tree = ItemTree.from_paths(["", "", ""])
        assert (all_pairs(tree) == 0).all()
        view = TreeView(tree, np.array([-1, 0, 1, 2]), "cpu")
        assert (view.similarity(torch.arange(4)[:, None], torch.arange(4)) == 0).all()
    assert describe(tree) == {"leaves": 0, "without_path": 3}


def test_description_counts_leaves_depths_and_items() -> None:
    """The facts shown to people are the tree's own."""
    assert describe(ItemTree.from_paths(["0-1", "0-1", "0-0-2", "1", "", "0-1"])) == {
        "leaves": 3,
        "min_depth": 1,
        "max_depth": 3,
        "min_leaf_size": 1,
        "mean_leaf_size": 1.67,
        "max_leaf_size": 3,
        "without_path": 1,
    }


def test_more_leaves_than_the_table_holds() -> None:
    """A big tree switches to prefix comparison and still answers as the formula does."""
    paths = [f"{first}-{second}-{third}" for first in range(16) for second in range(16) for third in range(17)]
    tree = ItemTree.from_paths(paths)
    assert tree.leaf_similarity is None
    picked = np.random.default_rng(0).integers(0, len(paths), (200, 2))
    expected = [path_similarity(paths[a], paths[b]) for a, b in picked]
    np.testing.assert_allclose(tree.similarity(picked[:, 0], picked[:, 1]), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "path", ["a", "0--1", "-1", "0-", "-", "0-32767", "1_0", "+1", " 0", "0 ", "0.5", "٣", "0/1", "9" * 5000]
)
def test_malformed_path_is_refused(path: str) -> None:
    """Nothing but child indices joined by "-" is read as a path, also not what int() would accept."""
    with pytest.raises(DataError, match=r"item 1: .* is not a tree path; write child indices from the root"):
        ItemTree.from_paths(["0-1", path])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item_id\tpath\na\t0-1\nb\t0-x\n", r"paths\.tsv, line 3: '0-x' is not a tree path"),
        ("item_id\tpath\na\t0-1\nb 0-1\n", r"paths\.tsv, line 3: expected an item and its path separated by a tab"),
        ("item_id\tpath\na\t0-1\nb\tc\t0-1\n", r"paths\.tsv, line 3: 'c\\t0-1' is not a tree path"),
        ("item_id\tpath\na\t0-1\n\nb\t0\n", r"paths\.tsv, line 3: expected an item and its path"),
        ("item_id\tpath\na\t0-1\nb\t0\na\t0-1\n", r"paths\.tsv, line 4: item 'a' has a path already"),
        ("item_id\tpath\nz\t0-1\nz\t0\n", r"paths\.tsv, line 3: item 'z' has a path already"),
        ("a\t0-1\nb\t0-0\n", r"paths\.tsv, line 1: expected the header 'item_id<TAB>path', found 'a\\t0-1'"),
        ("item_id path\na\t0-1\n", r"paths\.tsv, line 1: expected the header 'item_id<TAB>path', found 'item_id path'"),
        ("", r"paths\.tsv, line 1: expected the header"),
    ],
    ids=[
        "bad path",
        "no tab",
        "two tabs",
        "empty line",
        "item twice",
        "unknown twice",
        "no header",
        "header apart",
        "empty file",
    ],
)
def test_malformed_file_is_refused_by_line(content: str, message: str) -> None:
    """The error names file and line; a file without header must not lose its first item."""
    Path("paths.tsv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        ItemTree.from_file("paths.tsv", ["a", "b"])


@pytest.mark.parametrize("content", [None, b"item_id\tpath\n\xff\xfe\t0\n"], ids=["missing", "not UTF-8"])
def test_unreadable_file_is_refused_by_name(content: bytes | None) -> None:
    """A wrong file name or encoding is reported as such."""
    if content is not None:
        Path("paths.tsv").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read the tree paths in paths\.tsv"):
        ItemTree.from_file("paths.tsv", ["a"])


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffitem_id\tpath\na\t0-1\nb\t2\n",
        "item_id\tpath\r\na\t0-1\r\nb\t2\r\n",
        "item_id:token\tpath:token\na\t0-1\nb\t2",
    ],
    ids=["byte-order mark", "Windows line ends", "RecBole header, no last line end"],
)
def test_files_from_other_programs_are_read(content: str) -> None:
    """What spreadsheets and RecBole's own tools write is the same file."""
    Path("paths.tsv").write_bytes(content.encode())
    tree, unknown = ItemTree.from_file("paths.tsv", ["b", "a"])
    assert (tree.paths, unknown) == (["2", "0-1"], 0)


def test_similarity_broadcasts() -> None:
    """One positive against a row of candidates, the shape in which training asks."""
    paths = random_paths(12, seed=1)
    tree = ItemTree.from_paths(paths)
    found = tree.similarity(np.array([[3], [7]]), np.array([[0, 1, 2], [9, 10, 11]]))
    assert found.shape == (2, 3)
    assert found[1, 2] == np.float32(path_similarity(paths[7], paths[11]))
