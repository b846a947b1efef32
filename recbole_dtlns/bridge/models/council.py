"""The judge as a recommender: its probabilities rank the items, and nothing is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType, ModelType

from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.bridge.data.pairs import observed_pairs
from recbole_dtlns.guidance.contract import Guidance

# What the settings say of training has no part in it.
UNTRAINED = {
    "relabel_add": False,
    "relabel_exclude": False,
    "relabel_graph": False,
    "sampler": "recbole",
    "loss": "model",
    "loss_debiased": False,
    "pool": "uniform",
}


class Council(GeneralRecommender):
    """Ranks a user's items by the probability that the judge gives them; below all of these, by popularity.

    Whoever needs no embeddings can stop here, and whoever trains some should do better than this.

    Args:
        config: the run's configuration.
        dataset: the train split.
    """

    input_type = InputType.POINTWISE
    type = ModelType.TRADITIONAL
    other_parameter_name = ("keys", "probability")

    def __init__(self, config: Any, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        counts = np.bincount(observed_pairs(dataset).items, minlength=self.n_items).astype(np.float32)
        self.register_buffer("popularity", torch.as_tensor(counts / (counts.max() + 1)))
        self.fake_loss = torch.nn.Parameter(torch.zeros(1))  # RecBole's trainers make an optimizer of the parameters
        self.keys = torch.zeros(0, dtype=torch.int64)
        self.probability = torch.zeros(0)

    def take(self, guidance: Guidance, dataset: Dataset) -> None:
        """Rank by what a method judged.

        Args:
            guidance: with judged pairs.
            dataset: the train split, for its ids.
        """
        judged = to_recbole_ids(guidance.judged, guidance.train, dataset)
        self.keys = torch.as_tensor(judged.users * self.n_items + judged.items)  # ascending, as the pairs are
        self.probability = torch.as_tensor(judged.probability, dtype=torch.float32)

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        """Nothing is trained: zero."""
        return torch.nn.Parameter(torch.zeros(1))

    def predict(self, interaction: Any) -> torch.Tensor:
        """Scores of (user, item) pairs [B]."""
        items = interaction[self.ITEM_ID].cpu()
        keys = interaction[self.USER_ID].cpu() * self.n_items + items
        scores = self.popularity.cpu()[items] - 1
        if len(self.keys):
            place = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
            scores = torch.where(self.keys[place] == keys, self.probability[place], scores)
        return scores.to(self.device)

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        """Scores of all items, [B * n_items]: probabilities in [0, 1], and popularity in [-1, 0) for other items."""
        users = interaction[self.USER_ID].cpu()
        first = torch.searchsorted(self.keys, users * self.n_items)
        lengths = torch.searchsorted(self.keys, (users + 1) * self.n_items) - first
        rows = torch.repeat_interleave(torch.arange(len(users)), lengths)
        pairs = torch.arange(len(rows)) + torch.repeat_interleave(first - (lengths.cumsum(0) - lengths), lengths)
        scores = (self.popularity.cpu() - 1).repeat(len(users), 1)
        scores[rows, self.keys[pairs] % self.n_items] = self.probability[pairs]
        return scores.to(self.device).view(-1)

    def load_other_parameter(self, para: Any) -> None:
        """As saved; on the CPU, where the pairs are looked up."""
        super().load_other_parameter(para)
        self.keys, self.probability = self.keys.cpu(), self.probability.cpu()
