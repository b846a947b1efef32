"""What takes the place of a model's BPR term."""

from __future__ import annotations

from typing import ClassVar

import torch

from recbole_dtlns.components import Component


class Loss(Component):
    """A loss over negatives, in place of a model's BPR term. Subclass `RowLoss` and write `rows`.

    Attributes:
        shares_negatives: all rows of a batch share their negatives, so that no sampler chooses any.
    """

    shares_negatives: ClassVar[bool] = False


class RowLoss(Loss):
    """A loss over a row's own negatives."""

    def rows(
        self, positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss of every row; weighing and averaging rows is left to the caller.

        Args:
            positive: scores [B].
            negatives: scores [B, K].
            weights: of the negatives, v in [0, 1], [B, K]: 1 minus the probability that one is a false negative; None
                for ones.

        Returns:
            [B].
        """
        raise NotImplementedError


class SharedLoss(Loss):
    """A loss over negatives that all rows of a batch share."""

    shares_negatives = True

    @property
    def draws(self) -> int:
        """How many negatives are drawn per batch."""
        raise NotImplementedError

    def rows(self, positive: torch.Tensor, negatives: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
        """The loss of every row.

        Args:
            positive: scores [B].
            negatives: scores [B, S].
            log_weights: of the negatives, importance correction included [B, S]; -inf leaves one out.

        Returns:
            [B].
        """
        raise NotImplementedError
