"""Losses over a row's own negatives, by the names that users know."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.losses import ranking
from recbole_dtlns.losses.contract import RowLoss

Temperature = Annotated[float, Field(gt=0, description="softmax, sampled_softmax, listwise: divides the scores.")]


class BPR(RowLoss):
    """`bpr`: the mean over a row's negatives of -log sigmoid(s_p - s_k)."""

    def rows(
        self, positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `ranking.bpr`."""
        return ranking.bpr(positive, negatives, weights)


class SumExp(RowLoss):
    """`sum_exp`: log(1 + sum_k exp(s_k - s_p)), the loss of MixGCF and its family."""

    def rows(
        self, positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `ranking.sum_exp`."""
        return ranking.sum_exp(positive, negatives, weights)


class Hinge(RowLoss):
    """`hinge`: the mean over a row's negatives of max(0, margin + s_k - s_p), as the code of HNLMRec has it."""

    class Config(ComponentConfig):
        """Its margin."""

        prefix = "loss_"

        margin: float = Field(0.3, gt=0)
        """hinge: by how much the positive's score is to be above the negative's."""

    config: Config

    def rows(
        self, positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `ranking.hinge`."""
        return ranking.hinge(positive, negatives, weights, self.config.margin)


class Softmax(RowLoss):
    """`softmax`: cross-entropy of the positive among itself and the row's negatives."""

    class Config(ComponentConfig):
        """Its temperature."""

        prefix = "loss_"

        temperature: Temperature = 1.0

    config: Config

    def rows(
        self, positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As `ranking.softmax`."""
        return ranking.softmax(positive, negatives, weights, self.config.temperature)
