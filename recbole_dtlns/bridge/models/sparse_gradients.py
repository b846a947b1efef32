"""Steps that touch only the rows of embedding tables which a batch looks up."""

from __future__ import annotations

from typing import Any

from torch import nn

from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.errors import ConfigError, UnsupportedModelError

LEARNER = "sparse_adam"  # RecBole's name for torch's SparseAdam
_KEY = "dtlns_sparse_gradients: True"


def check_sparse_gradients(config: Any) -> None:
    """Refuse what would make gradients as long as the tables, before any work.

    Raises:
        UnsupportedModelError: the model reads its tables otherwise than row by row.
        ConfigError: a setting does; it is named.
    """
    settings, name = config.settings, config.model_class.__name__
    if not settings.sparse_gradients:
        return
    layers = capability(config.model_class).layers
    if layers is None or layers.arguments is not None:
        why = "propagates whole tables" if layers is not None else "is more than tables of embeddings"
        raise UnsupportedModelError(f"{_KEY} is for models of plain embeddings, such as BPR: {name} {why}")
    if settings.makes_vectors:
        raise ConfigError(
            f"{_KEY} is not for negatives that are vectors, which lengthen the item table: use a sampler by id"
        )
    if settings.shares_negatives or settings.takes_lists:
        raise ConfigError(f"{_KEY} is not for dtlns_loss: {settings.loss}, which reads whole tables: set it to bpr")
    if config["learner"].lower() != "adam":
        raise ConfigError(f"{_KEY} is torch's SparseAdam: leave learner: {config['learner']} out")
    for key, value in (
        ("weight_decay", config["weight_decay"]),
        ("clip_grad_norm", config["clip_grad_norm"]),
        ("dtlns_average_weights", settings.average_weights),
    ):
        if value:
            raise ConfigError(f"{_KEY} touches a batch's rows, and {key} all of them in every step: leave {key} out")


def make_sparse(model: nn.Module) -> None:
    """Let the model's tables have gradients of the rows that were looked up alone.

    Raises:
        UnsupportedModelError: it learns more than tables.
    """
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    of_tables = {id(table.weight) for table in tables}
    others = [name for name, weight in model.named_parameters() if id(weight) not in of_tables]
    if others:
        raise UnsupportedModelError(
            f"{_KEY} is for models of plain embeddings, and {type(model).__name__} learns {', '.join(others)} too"
        )
    for table in tables:
        table.sparse = True
