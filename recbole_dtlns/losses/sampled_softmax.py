"""A softmax over negatives that all rows of a batch share."""

from __future__ import annotations

import torch
from torch.nn import functional

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.losses.contract import SharedLoss
from recbole_dtlns.losses.row_losses import Temperature
from recbole_dtlns.losses.shared_negatives import SharedDraws


class SampledSoftmax(SharedLoss):
    """`sampled_softmax`: cross-entropy among negatives that the batch shares, corrected for how they were drawn."""

    class Config(ComponentConfig):
        """Its temperature, and how many negatives."""

        prefix = "loss_"

        temperature: Temperature = 1.0
        shared: SharedDraws = 1024

    config: Config

    @property
    def draws(self) -> int:
        """As `SharedLoss.draws`."""
        return self.config.shared

    def against(
        self, negatives: torch.Tensor, log_weights: torch.Tensor, own: torch.Tensor | None = None
    ) -> torch.Tensor:
        """log sum weight exp(score / temperature) [B]."""
        # -inf itself would make the gradient of a row in which all are left out NaN instead of zero.
        least = torch.finfo(negatives.dtype).min
        values = (negatives / self.config.temperature + log_weights).masked_fill(torch.isneginf(log_weights), least)
        if own is not None:
            values = torch.cat([values, own / self.config.temperature], dim=1)
        return values.logsumexp(dim=1)

    def of(self, positive: torch.Tensor, against: torch.Tensor) -> torch.Tensor:
        """log(1 + exp(against - score / temperature)) [n]."""
        return functional.softplus(against - positive / self.config.temperature)
