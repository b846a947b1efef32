"""Training whose loss is no number any more is stopped, and says where and what to lower."""

from __future__ import annotations

from typing import Any

import torch
from recbole.trainer import Trainer

from recbole_dtlns.errors import DivergedError


class StopsWhenDiverged(Trainer):
    """Put in front of RecBole's trainer class for a model. RecBole alone stops at NaN, and goes on at infinity."""

    _epoch = 0

    def _train_epoch(self, train_data: Any, epoch_idx: int, *arguments: Any, **named: Any) -> Any:
        self._epoch = epoch_idx
        return super()._train_epoch(train_data, epoch_idx, *arguments, **named)

    def _check_nan(self, loss: torch.Tensor) -> None:
        """Called by RecBole after every batch, before its gradient is taken.

        Raises:
            DivergedError: the loss is NaN or infinite.
        """
        if not torch.isfinite(loss).all():
            raise DivergedError(
                f"the training loss of {self.config['model']} is {loss.item()} in epoch {self._epoch} (the first is "
                f"0), so nothing more can be learnt: lower {self._what_to_lower()}"
            )

    def _what_to_lower(self) -> str:
        return f"learning_rate (now {self.config['learning_rate']:g})"
