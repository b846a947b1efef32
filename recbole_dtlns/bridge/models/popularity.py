"""The most popular items, as a reference."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.dataset import Dataset
from recbole.model.general_recommender.pop import Pop


class Popularity(Pop):
    """RecBole's `Pop` with counts of the train split.

    RecBole's counts by batch: what occurs twice in a batch counts once, and the batch's negatives count too.
    """

    def __init__(self, config: Any, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        items = dataset.inter_feat[dataset.iid_field]
        self.item_cnt = torch.bincount(items, minlength=self.n_items)[:, None].to(config["device"])
        self.max_cnt = self.item_cnt.max()

    def calculate_loss(self, interaction: Any) -> torch.nn.Parameter:
        return torch.nn.Parameter(torch.zeros(1))
