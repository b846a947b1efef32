"""What a sequential model makes of a batch's sequences: once for every score, and handed on to the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_dtlns.bridge.models.propagation import forward_replaced, training_layers


class EncodedSequences:
    """The results of a model's `forward` within one step.

    While candidates are scored, the same sequences are encoded once, in training mode and with gradients. The loss then
    takes these at its first call and encodes anew at others, which some models make for another dropout.

    Args:
        model: a sequential recommender.
        with_gradient: whether a loss follows; else models are only asked for scores.

    Attributes:
        latest: the first that the loss encoded in this step [B, D]; None before.
    """

    def __init__(self, model: AbstractRecommender, with_gradient: bool = True) -> None:
        self._model, self._with_gradient = model, with_gradient
        self._scoring = False
        # With the arguments, whose ids may not be given to others.
        self._kept: dict[tuple[int, ...], tuple[Any, Any]] = {}
        self.latest: torch.Tensor | None = None

    @contextmanager
    def of_a_batch(self) -> Iterator[None]:
        """Within the context, sequences are encoded as the class says; nothing is known before it or after."""
        try:
            with forward_replaced(self._model, self._encoded):
                yield
        finally:
            self._kept.clear()
            self.latest = None

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Within the context, what is encoded serves scores, and the loss afterwards."""
        self._scoring = True
        try:
            yield
        finally:
            self._scoring = False

    def _encoded(self, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        key = tuple(id(argument) for argument in arguments)
        if self._scoring and not named:
            if key not in self._kept:
                self._kept[key] = arguments, self._made(original, arguments)
            return self._kept[key][1]
        kept = self._kept.pop(key, None) if not named else None
        result = original(*arguments, **named) if kept is None else kept[1]
        if self.latest is None and isinstance(result, torch.Tensor):
            self.latest = result
        return result

    def _made(self, original: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if not self._with_gradient:
            return original(*arguments)
        with torch.enable_grad(), training_layers(self._model):
            return original(*arguments)
