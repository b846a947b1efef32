"""The negative is what was drawn: `rns` from the uniform pool, `popularity` from the popularity pool."""

from __future__ import annotations

import torch

from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler


class FirstDrawn(ItemSampler):
    """`rns`: takes what was drawn."""

    draws_once = True
    reads_scores = False

    def select(self, choice: Choice) -> torch.Tensor:
        """The first column."""
        return torch.zeros(len(choice.candidates), dtype=torch.long, device=choice.candidates.device)


class FirstPopular(FirstDrawn):
    """`popularity`: takes what was drawn in proportion to how often it occurs in train."""

    own_pool = "popularity"
