"""Candidates drawn from around the positive in the item trees."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ContractError
from recbole_dtlns.negatives.pools.contract import CandidatePool, PoolContext
from recbole_dtlns.negatives.pools.uniform import UniformDraws, below
from recbole_dtlns.trees.item_tree import ItemTree


class SubtreePool(CandidatePool):
    """`tree`: draws a share of the candidates from around the positive in the item trees."""

    class Config(ComponentConfig):
        """Which trees, how much of them, and how near."""

        prefix = "pool_"

        tree: Literal["both", "structure", "semantic", "text"] = "both"
        """tree: both (structure and semantic), structure, semantic, or text (dtlns_text_tree)."""
        tree_share: float = Field(0.5, ge=0, le=1)
        """tree: share of the candidates drawn from the positive's subtrees; the rest is uniform."""
        depths: list[Annotated[int, Field(ge=0)]] = Field(default_factory=lambda: [2], min_length=1)
        """tree: leading codes that those candidates share with the positive; several take turns."""

    config: Config
    reads_trees = True
    needs_several = True

    def begin(self, context: PoolContext) -> None:
        """As `CandidatePool.begin`.

        Raises:
            DataError: a user has every item blocked.
        """
        names = ("structure", "semantic") if self.config.tree == "both" else (self.config.tree,)
        trees = [context.tree(name) for name in names]
        if context.tree_item is None:
            raise ContractError("a pool is given item trees, and not where each item stands in them (tree_item)")
        self._draws = SubtreeDraws(
            context.blocked,
            context.n_users,
            context.n_items,
            trees,
            context.tree_item,
            self.config.tree_share,
            self.config.depths,
        )

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`. The columns from subtrees are the last ones."""
        return self._draws.draw(users, positives, uniform)


class SubtreeDraws:
    """Draws a share of the candidates from the subtrees around the positive, the rest uniformly.

    Uniform candidates rarely lie near the positive, so tree terms have little to choose from. In the order of a tree
    every subtree is a range of items, and a uniform draw from the unblocked items of a range is a draw of a rank.
    Where a subtree has nothing unblocked, the next larger one is used; the largest is the whole catalogue.

    Args:
        blocked, n_users, n_items: as for `UniformDraws`.
        trees: the trees to draw from, in turns.
        tree_item: for every item id, its position in the trees or -1 [n_items].
        share: of the candidates that is drawn from subtrees.
        depths: of the subtrees, in turns: the number of leading codes shared with the positive.
    """

    def __init__(
        self,
        blocked: PairSet,
        n_users: int,
        n_items: int,
        trees: list[ItemTree],
        tree_item: np.ndarray,
        share: float,
        depths: list[int],
    ) -> None:
        self._uniform = UniformDraws(blocked, n_users, n_items)
        orders = [_TreeOrder(blocked, n_users, n_items, tree, tree_item) for tree in trees]
        self._turns = [(order, depth) for depth in depths for order in orders]
        self.share = share

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`. The columns from subtrees are the last ones."""
        users, positives = np.asarray(users), np.asarray(positives)
        n = uniform.shape[1]
        near = round(self.share * n)
        drawn = np.empty(uniform.shape, dtype=np.int64)
        drawn[:, : n - near] = self._uniform.draw(users, positives, uniform[:, : n - near])
        for turn, (order, depth) in enumerate(self._turns):
            columns = slice(n - near + turn, n, len(self._turns))
            drawn[:, columns] = order.draw(users, positives, uniform[:, columns], depth)
        return drawn


class _TreeOrder:
    """The items of one tree in the order of its leaves; items without a path come last."""

    def __init__(self, blocked: PairSet, n_users: int, n_items: int, tree: ItemTree, tree_item: np.ndarray) -> None:
        depth = tree.digits.shape[1]
        digits = np.where((tree_item >= 0)[:, None], tree.digits[np.maximum(tree_item, 0)], -1).astype(np.int64)
        digits[digits[:, 0] < 0] = np.iinfo(np.int16).max
        digits[0] = -2  # padding stays item 0
        self._item = np.lexsort(digits.T[::-1])  # by place
        place = np.empty(n_items, dtype=np.int64)
        place[self._item] = np.arange(n_items)
        self._place = place
        # First and last place of the subtree of every item at every depth, [n_items, depth + 1].
        ordered = digits[self._item]
        self._first = np.ones((n_items, depth + 1), dtype=np.int64)
        self._end = np.full((n_items, depth + 1), n_items, dtype=np.int64)
        begins = np.zeros(n_items, dtype=bool)
        begins[[0, min(1, n_items - 1)]] = True
        for level in range(depth):
            # Below its leaf an item's subtree stays its leaf: the digits there are all -1 and begin nothing new.
            begins[1:] |= ordered[1:, level] != ordered[:-1, level]
            starts = np.flatnonzero(begins)
            group = np.cumsum(begins) - 1
            self._first[self._item, level + 1] = starts[group]
            self._end[self._item, level + 1] = np.append(starts[1:], n_items)[group]
        without_path = digits[:, 0] == np.iinfo(np.int16).max
        self._first[without_path], self._end[without_path] = 1, n_items
        self._free = UniformDraws(PairSet.of(blocked.users, place[blocked.items]), n_users, n_items)

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray, depth: int) -> np.ndarray:
        depths = np.arange(min(depth, self._first.shape[1] - 1) + 1)
        first = self._free.free_before(users[:, None], self._first[positives][:, depths])
        count = self._free.free_before(users[:, None], self._end[positives][:, depths]) - first
        deepest = (count > 0).shape[1] - 1 - (count > 0)[:, ::-1].argmax(axis=1)
        first, count = (np.take_along_axis(values, deepest[:, None], axis=1) for values in (first, count))
        return self._item[self._free.nth_free(users[:, None], first + below(uniform, count))]
