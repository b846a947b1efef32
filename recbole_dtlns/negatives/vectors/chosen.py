"""Chosen items as vectors, so that a rule that chooses ids can be built on by what makes vectors."""

from __future__ import annotations

import torch

from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.products import candidate_scores
from recbole_dtlns.negatives.vectors.contract import LayerChoice, LayerNegatives, VectorSampler, joined_layers


class ChosenVectors(VectorSampler):
    """The vectors of the item that a rule chooses by the model's scores, the same item in every layer.

    Args:
        rule: chooses an item.
    """

    def __init__(self, rule: ItemSampler) -> None:
        super().__init__()
        self.rule, self.past_epochs = rule, rule.past_epochs

    def begin(self, context: SamplerContext) -> None:
        """As `Sampler.begin`."""
        self.rule.begin(context)
        self.module = self.rule.module

    def propose(self, users: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """As the rule proposes."""
        return self.rule.propose(users, drawn)

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

    def facts(self) -> dict[str, float]:
        return self.rule.facts()

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.rule.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.rule.load_state_dict(state)
