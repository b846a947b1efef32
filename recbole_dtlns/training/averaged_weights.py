"""The moving average of a model's weights over the steps: what is evaluated and saved in place of the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class AveragedWeights:
    """An exponential moving average of the parameters (Polyak and Juditsky 1992; in this form, Ruppert 1988).

    At step t its decay is the smaller of the given one and (1 + t) / (10 + t), so that the random start is forgotten.
    Buffers (of batch norm) are as the model has them.

    Args:
        model: whose parameters are averaged.
        decay: in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self._steps = 0
        self._average = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    @torch.no_grad()
    def add(self, *_: Any) -> None:
        """Take in the weights as they are after a step; it takes what an optimizer gives its hooks."""
        self._steps += 1
        share = 1 - min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, weight in self._model.named_parameters():
            self._average[name].lerp_(weight, share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the context, the model has the averages as its weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, weight in self._model.named_parameters():
            weight.data, self._average[name] = self._average[name], weight.data

    def state(self) -> dict[str, Any]:
        """For checkpoints, beside the averages themselves: the model's weights, from which training goes on."""
        return {"steps": self._steps, "weights": {name: one.detach() for name, one in self._model.named_parameters()}}

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint whose averages the model was given as its weights."""
        self._steps = state["steps"]
        self._average = {name: weight.detach().clone() for name, weight in self._model.named_parameters()}
        restore_weights(self._model, state)


@torch.no_grad()
def restore_weights(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Give a model the weights in a checkpoint's `AveragedWeights.state`, in place of the averages.

    Raises:
        KeyError: it holds weights of another model.
    """
    for name, weight in model.named_parameters():
        weight.copy_(state["weights"][name])
