"""What a pool of candidates is: it says which items may be drawn, and draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from recbole_dtlns.components import Component
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ContractError
from recbole_dtlns.trees.item_tree import ItemTree


def _no_files(path: str) -> PairSet:
    raise ContractError(f"{path} cannot be read here: nothing says which ids its tokens have")


@dataclass(frozen=True)
class PoolContext:
    """The run that a pool begins; all of it comes from the train split.

    Attributes:
        blocked: pairs that may not be drawn (observed and forbidden), in ids 1..n_items-1.
        n_users, n_items: number of ids, the padding id 0 included.
        counts: how often each item occurs in train, int64 [n_items].
        views: the item trees by name ("structure", "semantic"); empty where nothing was prepared.
        tree_item: for every item id, its position in the trees or -1, int64 [n_items].
        read_pairs: reads a table of user_id and item_id (.tsv or .parquet) into ids.
    """

    blocked: PairSet
    n_users: int
    n_items: int
    counts: np.ndarray
    views: Mapping[str, ItemTree] = field(default_factory=dict)
    tree_item: np.ndarray | None = None
    read_pairs: Callable[[str], PairSet] = _no_files

    def tree(self, name: str) -> ItemTree:
        """The item tree of this name.

        Raises:
            ContractError: there is none.
        """
        if name not in self.views:
            raise ContractError(
                f"a pool asks for the item tree '{name}', and there "
                + (
                    f"are only {', '.join(self.views)}"
                    if self.views
                    else "is none: set reads_trees = True on its class"
                )
            )
        return self.views[name]


class CandidatePool(Component):
    """Draws candidates. Subclass it, write `begin` and `draw`, and name the class in an entry point.

    Attributes:
        reads_trees: it looks at the item trees, which are then prepared.
        needs_several: it has nothing to offer to a sampler that takes one candidate.
        probability: of every item where nothing is blocked [n_items], for losses that share negatives; None where the
            pool draws otherwise for every user or positive. `shareable` pools set it in `begin`.
        shareable: whether they do.
    """

    reads_trees: ClassVar[bool] = False
    needs_several: ClassVar[bool] = False
    shareable: ClassVar[bool] = False
    probability: np.ndarray | None = None

    def begin(self, context: PoolContext) -> None:
        """Called once, before the first draw."""

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """One item for every uniform number.

        Args:
            users: user ids [B].
            positives: the rows' positive items [B].
            uniform: independent numbers in [0, 1), [B, n]; all randomness of the draw.

        Returns:
            int64 item ids [B, n], never blocked, never 0.
        """
        raise NotImplementedError
