"""Calibrated binary cross-entropy over negatives that all rows of a batch share."""

from __future__ import annotations

import torch
from pydantic import Field
from torch.nn import functional

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.losses.contract import SharedLoss
from recbole_dtlns.losses.shared_negatives import SharedDraws


class GBCE(SharedLoss):
    """`gbce` (Petrov and Macdonald, RecSys 2023): -(b log sigmoid(s_p) + sum_k log(1 - sigmoid(s_k))) / (S + 1).

    With the share a = S / (n_items - 1) of the catalogue that is drawn, b = a (t (1 - 1/a) + 1/a) = 1 - t (1 - a): the
    scores of positives are too high by the factor 1/a when few negatives are drawn, and b takes the share t of that
    back. Theirs draws for every sequence; here a batch shares its draws, so that they are one product of matrices, and
    a negative drawn twice counts twice.
    """

    class Config(ComponentConfig):
        """How much is taken back, and how many negatives."""

        prefix = "loss_"

        shared: SharedDraws = 1024
        calibration: float = Field(0.75, ge=0, le=1)
        """gbce: t. 0: binary cross-entropy, which is overconfident where few items are drawn; 1: scores are
        probabilities."""

    config: Config

    def begin(self, n_items: int) -> None:
        """As `SharedLoss.begin`."""
        self._share = min(1.0, self.draws / max(1, n_items - 1))

    @property
    def draws(self) -> int:
        """As `SharedLoss.draws`."""
        return self.config.shared

    def against(
        self, negatives: torch.Tensor, log_weights: torch.Tensor, own: torch.Tensor | None = None
    ) -> torch.Tensor:
        """sum_k -log(1 - sigmoid(s_k)) over the draws [B]."""
        terms = self._share * (log_weights.exp() * functional.softplus(negatives)).sum(dim=1)
        return terms if own is None else terms + functional.softplus(own).sum(dim=1)

    def of(self, positive: torch.Tensor, against: torch.Tensor) -> torch.Tensor:
        """As the class says [n]."""
        exponent = 1 - self.config.calibration * (1 - self._share)
        return (exponent * functional.softplus(-positive) + against) / (self.draws + 1)
