"""Tree similarity of item ids on the model's device."""

from __future__ import annotations

import numpy as np
import torch

from recbole_dtlns.trees.item_tree import ItemTree


class TreeView:
    """The similarity of one item tree as tensors.

    Args:
        tree: an item tree.
        tree_item: for every item id, its position in the tree or -1, int [n_items].
        device: where `similarity` is computed.
    """

    def __init__(self, tree: ItemTree, tree_item: np.ndarray, device: torch.device | str) -> None:
        leaf = np.where(tree_item >= 0, tree.leaf_of_item[np.maximum(tree_item, 0)], -1)
        no_leaf = tree.n_leaves  # one extra leaf, similar to nothing, for items without a path
        self._leaf = torch.as_tensor(np.where(leaf >= 0, leaf, no_leaf).astype(np.int32), device=device)
        table = tree.leaf_similarity
        if table is None:
            self._table = None
            self._prefixes = torch.as_tensor(np.pad(tree.leaf_prefixes, ((0, 0), (0, 1))), device=device)
            self._lengths = torch.as_tensor(np.append(tree.leaf_lengths, 1), device=device)
        else:
            self._table = torch.as_tensor(np.pad(table, ((0, 1), (0, 1))), device=device)

    def similarity(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Longest common prefix / shorter path for item ids that broadcast against each other, float32."""
        a, b = _taken(self._leaf, first), _taken(self._leaf, second)
        if self._table is not None:
            return _taken(self._table.view(-1), a * len(self._table) + b)
        no_leaf = len(self._lengths) - 1
        low = torch.minimum(a, b).long()
        gap = torch.maximum(a, b).long().clamp_max(no_leaf - 1) - low.clamp_max(no_leaf - 1)
        run = torch.frexp(gap.clamp_min(1).double()).exponent - 1  # floor of log2, exactly
        first = run * len(self._lengths) + low
        prefixes = self._prefixes.view(-1)
        last = (first + gap - (1 << run.long())).clamp_min(0)
        shared = torch.minimum(_taken(prefixes, first), _taken(prefixes, last))
        value = shared / torch.minimum(_taken(self._lengths, a), _taken(self._lengths, b))
        value = torch.where(a == b, torch.ones_like(value), value)
        return torch.where((a == no_leaf) | (b == no_leaf), torch.zeros_like(value), value)


def _taken(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """`values[places]`, several times faster on a CPU."""
    return values.index_select(0, places.reshape(-1)).view(places.shape)
