"""How likely each unobserved pair is a false negative, as weights of negatives."""

from __future__ import annotations

import numpy as np
import torch

from recbole_dtlns.data.item_sets import JudgedPairs


class NegativeWeights:
    """1 minus the probability that a negative is a false one; 1 for pairs that nobody judged (a debiased loss).

    Args:
        judged: pairs with their probabilities.
        n_items: number of item ids.
        device: where weights are looked up.
    """

    def __init__(self, judged: JudgedPairs, n_items: int, device: torch.device | str) -> None:
        self._n_items = n_items
        keys = np.append(judged.users * n_items + judged.items, np.iinfo(np.int64).max)
        self._keys = torch.as_tensor(keys, device=device)
        weights = np.append(1 - judged.probability, 1).astype(np.float32)
        self._weights = torch.as_tensor(weights, device=device)

    def of(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """The weights of (user, item) pairs of ids that broadcast against each other, float32."""
        keys = users * self._n_items + items
        place = torch.searchsorted(self._keys, keys)
        return torch.where(self._keys[place] == keys, self._weights[place], 1.0)
