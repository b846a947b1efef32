"""Which rows of a model's tables are values of features: RecBole's models share one table over many columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recbole.model.abstract_recommender import AbstractRecommender
from torch import nn

from recbole_dtlns.bridge.vocabulary import Rows


def feature_tables(network: AbstractRecommender) -> dict[str, Rows]:
    """What the tables of features hold, told by the attributes that RecBole's layers have.

    Args:
        network: of any kind; one that embeds no features has no such tables.

    Returns:
        by parameter: its rows. Those of numbers are about no tokens.
    """
    rows = {
        id(getattr(table, "embedding", table).weight): found  # a table of many columns is wrapped
        for module in network.modules()
        for table, found in (*_shared(module), *_of_field_pairs(module), *_of_attributes(module))
    }
    return {name: rows[id(one)] for name, one in network.named_parameters() if id(one) in rows}


def _shared(module: Any) -> Iterator[tuple[nn.Module, Rows]]:
    """Of the layers that most models embed features with: columns of one token share a table, others have their own."""
    if not hasattr(module, "token_field_names"):
        return
    for table, names in _by_source(module, "token_embedding_table", "token_field_names"):
        yield table, _tokens(names, names)
    for table, names in _by_source(module, "float_embedding_table", "float_field_names"):
        yield table, _numbers(names)
    for tables, names in _by_source(module, "token_seq_embedding_table", "token_seq_field_names"):
        yield from ((table, _tokens([name], names)) for table, name in zip(tables, names, strict=True))
    for tables, names in _by_source(module, "float_seq_embedding_table", "float_seq_field_names"):
        yield from ((table, _numbers(names)) for table in tables)


def _tokens(names: list[str], in_order: list[str]) -> Rows:
    return Rows(tuple(names), order=tuple(in_order))


def _numbers(in_order: list[str]) -> Rows:
    return Rows((), order=tuple(in_order))


def _by_source(module: Any, tables: str, names: str) -> Iterator[tuple[Any, list[str]]]:
    """Tables and their columns; sequential models have them once for users and once for items."""
    held = getattr(module, tables, None)
    if isinstance(held, nn.ModuleDict):
        yield from ((table, getattr(module, names)[source]) for source, table in held.items())
    elif held is not None:
        yield held, getattr(module, names)


def _of_field_pairs(module: Any) -> Iterator[tuple[nn.Module, Rows]]:
    """Of FFM, which has every table once for each field that its columns meet."""
    if not hasattr(module, "token_feature_names"):
        return
    tokens, sequences = module.token_feature_names, module.token_seq_feature_names
    for table in getattr(module, "token_embeddings", ()):
        yield table, _tokens(tokens, tokens)
    for place, table in enumerate(getattr(module, "token_seq_embedding", ())):
        yield table, _tokens([sequences[place % len(sequences)]], sequences)
    for tables, names in (
        ("float_embeddings", "float_feature_names"),
        ("float_seq_embedding", "float_seq_feature_names"),
    ):
        yield from ((table, _numbers(getattr(module, names))) for table in getattr(module, tables, ()))


def _of_attributes(module: Any) -> Iterator[tuple[nn.Module, Rows]]:
    """Of S3Rec, whose attributes of items have no padding."""
    if hasattr(module, "feature_embedding") and hasattr(module, "FEATURE_FIELD"):
        yield module.feature_embedding, Rows((module.FEATURE_FIELD,), padded=False)
