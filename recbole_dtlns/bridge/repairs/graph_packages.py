"""KGAT, KGIN and MCCLK without the packages dgl and torch_scatter.

RecBole imports both within the functions that use them. dgl has no release for today's torch, and its latest lacks what
RecBole calls; torch_scatter must be compiled. What is taken from them is little, and stands here in plain torch.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from recbole.model.knowledge_aware_recommender import kgat, kgin, mcclk

_SCATTER = "torch_scatter"


def mend_graph_models() -> None:
    """Let RecBole's classes do without the packages, in this process; calling it again changes nothing."""
    kgat.KGAT.init_graph = first_attention
    if importlib.util.find_spec(_SCATTER) is not None:
        return
    for aggregator in (kgin.Aggregator, mcclk.Aggregator):
        if not hasattr(aggregator.forward, "__wrapped__"):
            aggregator.forward = _with_scatter(aggregator.forward)


def first_attention(model: Any) -> torch.Tensor:
    """KGAT's attention before its first epoch: of every head, each relation's tails have equal shares that add up to 1.

    Args:
        model: with all facts and interactions as `all_hs`, `all_rs`, `all_ts`.

    Returns:
        sparse float [n_users + n_entities, n_users + n_entities], by head and tail.
    """
    heads, relations, tails = (values.cpu().numpy() for values in (model.all_hs, model.all_rs, model.all_ts))
    real = relations > 0  # of what RecBole numbers, 0 is the padding's
    heads, relations, tails = heads[real], relations[real], tails[real]
    _, of_pair, counts = np.unique(heads * model.n_relations + relations, return_inverse=True, return_counts=True)
    shares = sp.csr_array((1 / counts[of_pair], (heads, tails)), shape=tuple(model.matrix_size)).tocoo()
    indices = torch.as_tensor(np.stack(shares.coords).astype(np.int64))
    values = torch.as_tensor(shares.data, dtype=torch.float32)
    return torch.sparse_coo_tensor(indices, values, model.matrix_size, check_invariants=False).to(model.device)


def _with_scatter(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def mended(*arguments: Any, **named: Any) -> Any:
        with _standing_in():
            return forward(*arguments, **named)

    return mended


@contextmanager
def _standing_in() -> Iterator[None]:
    """Within the context, `from torch_scatter import ...` finds the functions below."""
    module = ModuleType(_SCATTER)
    module.scatter_mean, module.scatter_softmax = scatter_mean, scatter_softmax  # type: ignore[attr-defined]
    sys.modules[_SCATTER] = module
    try:
        yield
    finally:
        del sys.modules[_SCATTER]


def scatter_mean(src: torch.Tensor, index: torch.Tensor, dim: int, dim_size: int) -> torch.Tensor:
    """The mean of the rows of each group, zeros for groups without any.

    Args:
        src: float [n, d].
        index: group of every row, int64 [n].
        dim: the dimension of rows, 0.
        dim_size: number of groups.

    Returns:
        float [dim_size, d].
    """
    sums = src.new_zeros(dim_size, *src.shape[1:]).index_add(dim, index, src)
    return sums / torch.bincount(index, minlength=dim_size).clamp(min=1)[:, None].to(src.dtype)


def scatter_softmax(src: torch.Tensor, index: torch.Tensor, dim: int) -> torch.Tensor:
    """The softmax over the rows of each group, column by column.

    Args:
        src: float [n, d].
        index: group of every row, int64 [n].
        dim: the dimension of rows, 0.

    Returns:
        float [n, d].
    """
    groups = int(index.max()) + 1 if len(index) else 0
    of_row = index[:, None].expand_as(src)
    largest = src.new_full((groups, src.shape[1]), -torch.inf).scatter_reduce(dim, of_row, src.detach(), "amax")
    powers = (src - largest[index]).exp()
    sums = src.new_zeros(groups, src.shape[1]).index_add(dim, index, powers)
    return powers / sums[index]
