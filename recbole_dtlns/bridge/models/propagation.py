"""A graph model's propagation within one training step: made once, its layers read, its item table lengthened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.model.layers import SparseDropout
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from recbole_dtlns.bridge.models.capability import Layers
from recbole_dtlns.errors import UnsupportedModelError
from recbole_dtlns.negatives.vectors.contract import joined_layers


@contextmanager
def propagation_shared(model: nn.Module, with_gradient: bool = True) -> Iterator[None]:
    """Within the context, a graph model propagates its embeddings once, however often it is asked.

    A `forward` without ids among its arguments is a propagation: its result depends on the parameters alone. It is
    computed in training mode with gradients, so that the loss can use what scoring used; or, for models that are only
    asked for scores, without.
    """
    results: dict[tuple[int, ...], tuple[Any, Any]] = {}  # with the arguments, whose ids may not be given to others

    def shared(original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if named or any(_holds_ids(argument) for argument in arguments):
            return original(*arguments, **named)
        key = tuple(id(argument) for argument in arguments)
        if key not in results:
            if with_gradient:
                with torch.enable_grad(), training_layers(model):
                    results[key] = arguments, original(*arguments)
            else:
                with torch.no_grad():
                    results[key] = arguments, original(*arguments)
        return results[key][1]

    with forward_replaced(model, shared):
        yield


def vectors(model: AbstractRecommender, layers: Layers) -> tuple[torch.Tensor, torch.Tensor]:
    """The vectors of all users and of all items that the model multiplies, [n_users, D] and [n_items, D]."""
    if layers.arguments is None:
        return model.user_embedding.weight, layers.item_table(model).weight
    users, items = model.forward(*layers.arguments(model))[:2]
    return users, items[: model.n_items]


class LayerReader:
    """Reads the embeddings of every layer off a model, from the propagation that its loss uses.

    A model joins its layers by stacking or concatenating them; that call is watched, so nothing is computed twice and
    models that inherit from RecBole's are read as they are. At the first reading the layers, joined again, are
    compared with what the model returned.

    Args:
        model: the model.
        layers: how its class holds them.
    """

    def __init__(self, model: AbstractRecommender, layers: Layers) -> None:
        self.model = model
        self.layers = layers
        self._verified = False

    def read(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Embeddings of all users and of all items, one table per layer [n_users, d] and [n_items, d], with gradient.

        To be called within `propagation_shared`, before anything else that propagates.

        Raises:
            UnsupportedModelError: the model computes its embeddings otherwise than its class does.
        """
        model = self.model
        if self.layers.arguments is None:
            return [model.user_embedding.weight], [self.layers.item_table(model).weight]
        sizes = [model.n_users, self.layers.item_table(model).num_embeddings]
        with _JoinedTables(sum(sizes)) as watched:
            users, items = model.forward(*self.layers.arguments(model))[:2]
        split = [table.reshape(sum(sizes), -1).split(sizes) for table in watched.latest]
        user_layers, item_layers = [part[0] for part in split], [part[1] for part in split]
        if not self._verified:
            self._verify(user_layers, users)
            self._verify(item_layers, items)
            self._verified = True
        return user_layers, [layer[: model.n_items] for layer in item_layers]

    def _verify(self, layers: Sequence[torch.Tensor], joined: torch.Tensor) -> None:
        if not layers or (again := joined_layers(layers, self.layers.join)).shape != joined.shape:
            same = False
        else:
            same = torch.allclose(again, joined, rtol=1e-4, atol=1e-6)
        if not same:
            raise UnsupportedModelError(
                f"{type(self.model).__name__} does not join its layers by their {self.layers.join}, so negatives "
                "cannot be mixed in it: use a sampler at item-id level, such as dtlns_sampler: dns"
            )


class _JoinedTables(TorchFunctionMode):
    """Keeps the tables, one row per user and item, that were stacked or concatenated last along dimension 1."""

    def __init__(self, n_nodes: int) -> None:
        super().__init__()
        self.n_nodes = n_nodes
        self.latest: list[torch.Tensor] = []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        named: dict[str, Any] | None = None,
    ) -> Any:
        named = named or {}
        along = named.get("dim", arguments[1] if len(arguments) > 1 else 0)
        if function in (torch.stack, torch.cat) and along == 1:
            tables = arguments[0] if arguments else named["tensors"]
            if all(len(table) == self.n_nodes for table in tables):
                self.latest = list(tables)
        return function(*arguments, **named)


@contextmanager
def virtual_items(
    model: AbstractRecommender, layers: Layers, joined: torch.Tensor, embedded: torch.Tensor
) -> Iterator[None]:
    """Within the context, the model knows R more items, with the ids that follow those of its table of items.

    So a model's own loss, with its own regularisation, takes negatives that are vectors.

    Args:
        model: the model.
        layers: how its class holds its layers.
        joined: what its propagation would give for the new items [R, D].
        embedded: their embeddings of layer 0 [R, d].
    """
    propagated = None if layers.arguments is None else [id(argument) for argument in layers.arguments(model)]
    longer: dict[int, Any] = {}

    def with_new_items(original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        if [id(argument) for argument in arguments] != propagated:
            return result
        if id(result) not in longer:
            users, items, *rest = result
            longer[id(result)] = (users, torch.cat([items, joined]), *rest)
        return longer[id(result)]

    items = layers.item_table(model)
    table = torch.cat([items.weight, embedded])
    with (
        forward_replaced(model, with_new_items),
        forward_replaced(items, lambda original, ids: functional.embedding(ids, table)),
    ):
        yield


@contextmanager
def forward_replaced(module: nn.Module, replacement: Callable[..., Any]) -> Iterator[None]:
    """`module.forward` calls `replacement(forward, ...)` within the context; contexts may be nested."""
    outer = vars(module).get("forward")
    original = module.forward
    module.forward = lambda *arguments, **named: replacement(original, *arguments, **named)
    try:
        yield
    finally:
        if outer is None:
            del module.forward
        else:
            module.forward = outer


def _holds_ids(argument: Any) -> bool:
    return not isinstance(argument, torch.Tensor) or not argument.dtype.is_floating_point


_STOCHASTIC = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm, SparseDropout)


@contextmanager
def deterministic_layers(model: nn.Module) -> Iterator[None]:
    """Switch dropout and batch norm to evaluation without calling `model.eval()`, which some models react to."""
    with _layers_in_mode(model, training=False):
        yield


@contextmanager
def training_layers(model: nn.Module) -> Iterator[None]:
    """Switch dropout and batch norm to training, as a loss has them."""
    with _layers_in_mode(model, training=True):
        yield


@contextmanager
def _layers_in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    layers = [layer for layer in model.modules() if isinstance(layer, _STOCHASTIC)]
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.training = training
    try:
        yield
    finally:
        for layer, mode in zip(layers, before, strict=True):
            layer.training = mode
