"""A learning rate that falls over the epochs, as a function of the epoch alone, so that a resumed run has the same."""

from __future__ import annotations

from collections.abc import Iterable

import torch

_AT_FIRST = "initial_lr"  # torch's own name for it in a group; optimizers save and load it


def set_learning_rates(optimizers: Iterable[torch.optim.Optimizer], decay: str, epoch: int, epochs: int) -> None:
    """Give every group of parameters the rate of an epoch.

    Args:
        optimizers: of the run.
        decay: `none`, or `linear`: from the rate that the group began with, in equal steps, to its share 1 / epochs.
        epoch: from 0.
        epochs: of the whole run.
    """
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        if decay == "linear":
            group.setdefault(_AT_FIRST, group["lr"])
            group["lr"] = group[_AT_FIRST] * (1 - epoch / epochs)
        elif _AT_FIRST in group:  # resumed from a run whose rate fell
            group["lr"] = group[_AT_FIRST]
