"""Users, items and two trees over them, as samplers and pools are given them."""

from __future__ import annotations

import numpy as np

from recbole_dtlns.trees.item_tree import ItemTree

USERS, ITEMS = 30, 60  # the padding included


def random_trees() -> dict[str, ItemTree]:
    """A tree for each view, whose paths have one to three digits; several items share a leaf."""
    random = np.random.default_rng(0)
    return {
        name: ItemTree.from_paths(
            ["-".join(map(str, random.integers(0, 3, random.integers(1, 4)))) for _ in range(ITEMS - 1)]
        )
        for name in ("structure", "semantic")
    }


def tree_item() -> np.ndarray:
    """The trees' id of every item; that of the padding is -1."""
    return np.arange(ITEMS) - 1
