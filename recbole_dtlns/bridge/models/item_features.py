"""What the data set says of items, on the model's device."""

from __future__ import annotations

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction


class ItemFeatures:
    """The columns that RecBole joins to an item's id, held where they are read.

    Args:
        dataset: knows them, if the run loads some.
        device: of the ids that they will be asked for.

    Attributes:
        device: the same.
    """

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.device, self._id = device, dataset.iid_field
        features = {} if dataset.item_feat is None else dataset.item_feat.interaction
        self._columns = {name: values.to(device) for name, values in features.items() if name != self._id}

    def of(self, items: torch.Tensor) -> Interaction:
        """The ids [B] themselves, and every column of theirs [B, ...]."""
        joined = {name: values.index_select(0, items) for name, values in self._columns.items()}
        return Interaction({self._id: items, **joined})
