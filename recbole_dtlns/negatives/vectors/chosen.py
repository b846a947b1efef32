"""Chosen items as vectors, so that a rule that chooses ids can be built on by what makes vectors."""

from __future__ import annotations

import torch

from recbole_dtlns.negatives.choosing.contract import Choice
from recbole_dtlns.negatives.products import candidate_scores
from recbole_dtlns.negatives.vectors.by_rule import VectorsByRule
from recbole_dtlns.negatives.vectors.contract import LayerChoice, LayerNegatives, joined_layers


class ChosenVectors(VectorsByRule):
    """The vectors of the item that a rule chooses by the model's scores, the same item in every layer.

    Args:
        rule: chooses an item.
    """

    def negatives(self, choice: LayerChoice) -> LayerNegatives:
        """As `VectorSampler.negatives`."""
        with torch.no_grad():
            column = self.rule.select(self._scored(choice))
        chosen = choice.candidates.gather(1, column[:, None]).squeeze(1)
        layers = [items[chosen] for items in choice.item_layers]
        return LayerNegatives(layers, chosen[:, None].expand(-1, len(layers)))

    def _scored(self, choice: LayerChoice) -> Choice:
        scores, positive_scores = torch.zeros(choice.candidates.shape, device=choice.candidates.device), None
        if self.rule.reads_scores:
            users = joined_layers([layer[choice.users] for layer in choice.user_layers], choice.join)
            items = joined_layers(choice.item_layers, choice.join)
            scores = candidate_scores(users, items, choice.candidates)
            if self.rule.reads_positive_scores:
                positive_scores = (users * items[choice.positives]).sum(dim=1)
        return Choice(
            choice.users,
            choice.positives,
            choice.candidates,
            scores,
            positive_scores,
            choice.uniform,
            choice.epoch,
            choice.past,
        )
