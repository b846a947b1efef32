"""Item trees as features: the nodes on an item's path, as tokens that any model with an embedding table can take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from recbole_dtlns.trees.item_tree import ItemTree


@dataclass(frozen=True)
class TreeCodes:
    """The nodes on the path of every item, named by the path that leads to them: 0, 0-3, 0-3-1.

    The bare child index (0, 3, 1) would be no feature: the third child of one node has nothing to do with that of
    another.

    Attributes:
        paths: one per item, such as "0-3-1"; empty for an item that the tree does not hold.
    """

    paths: list[str]

    @classmethod
    def of(cls, tree: ItemTree) -> TreeCodes:
        """The codes of all items of a tree, in its order."""
        return cls(tree.paths)

    @cached_property
    def nodes(self) -> list[list[str]]:
        """The nodes of every item from below the root to its leaf; none for an item without a path."""
        found = []
        for path in self.paths:
            digits = path.split("-") if path else []
            found.append(["-".join(digits[:level]) for level in range(1, len(digits) + 1)])
        return found

    @property
    def depth(self) -> int:
        """Levels of the tree, at least one."""
        return max(1, *map(len, self.nodes)) if self.nodes else 1

    def level(self, level: int) -> list[str]:
        """The node of every item at a level from 1 on: its leaf where that lies higher, empty without a path."""
        return [nodes[min(level, len(nodes)) - 1] if nodes else "" for nodes in self.nodes]
