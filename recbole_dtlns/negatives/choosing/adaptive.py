"""A sampler that adapts the hardness to each positive."""

from __future__ import annotations

import torch
from pydantic import Field

from recbole_dtlns.negatives.choosing.contract import Choice
from recbole_dtlns.negatives.choosing.hardest import HardestItem
from recbole_dtlns.negatives.choosing.tree_terms import TreeTermsConfig


class AHNS(HardestItem):
    """`ahns` (Lai et al., AAAI 2024): hardest is the score nearest to beta * (s_p + alpha)^(power + 1).

    With a power below -1 the target falls as the positive's score rises, so well-learnt positives get easier negatives.
    """

    class Config(TreeTermsConfig):
        """The target, and tree terms."""

        prefix = "ahns_"

        alpha: float = 1.0
        """ahns: added to the positive's score s in the target beta * (s + alpha)^(power + 1)."""
        beta: float = Field(0.1, gt=0)
        """ahns: factor of the target."""
        power: float = -2.0
        """ahns: below -1, well-learnt positives get easier negatives."""

    config: Config
    reads_positive_scores = True
    _SMALLEST_BASE = 0.05  # where a positive's score is below -alpha, its target would explode or turn negative

    def hardness(self, choice: Choice) -> torch.Tensor:
        """Minus the distance to the target, [B, n]; a base below 0.05 counts as 0.05, where the paper has no rule."""
        base = (choice.scores_of_positives + self.config.alpha).clamp_min(self._SMALLEST_BASE)
        return -(choice.scores - self.config.beta * base[:, None] ** (self.config.power + 1)).abs()
