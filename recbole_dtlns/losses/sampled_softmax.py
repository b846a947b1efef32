"""A softmax over negatives that all rows of a batch share."""

from __future__ import annotations

import torch
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.losses.contract import SharedLoss
from recbole_dtlns.losses.ranking import cross_entropy
from recbole_dtlns.losses.row_losses import Temperature


class SampledSoftmax(SharedLoss):
    """`sampled_softmax`: cross-entropy among negatives that the batch shares, corrected for how they were drawn."""

    class Config(ComponentConfig):
        """Its temperature, and how many negatives."""

        prefix = "loss_"

        temperature: Temperature = 1.0
        shared: int = Field(1024, ge=1)
        """sampled_softmax: negatives drawn per batch, from dtlns_pool (uniform or popularity), with importance
        correction."""

    config: Config

    @property
    def draws(self) -> int:
        """As `SharedLoss.draws`."""
        return self.config.shared

    def rows(self, positive: torch.Tensor, negatives: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
        """As `ranking.cross_entropy`."""
        return cross_entropy(positive, negatives, log_weights, self.config.temperature)
