"""What makes vectors by a rule that chooses items: all but the vectors is the rule's."""

from __future__ import annotations

import torch

from recbole_dtlns.negatives.choosing.contract import ItemSampler
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.vectors.contract import VectorSampler


class VectorsByRule(VectorSampler):
    """Proposes, remembers and tells what its rule does; subclasses make the vectors.

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

    def facts(self) -> dict[str, float]:
        return self.rule.facts()

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.rule.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.rule.load_state_dict(state)
