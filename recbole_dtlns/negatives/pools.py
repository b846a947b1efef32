"""The pools by name."""

from __future__ import annotations

from recbole_dtlns.negatives.list_pool import ListPool
from recbole_dtlns.negatives.pool import CandidatePool, UniformPool
from recbole_dtlns.negatives.popularity_pool import PopularityPool
from recbole_dtlns.negatives.subtree_pool import SubtreePool
from recbole_dtlns.registry import Registry

POOLS: Registry[CandidatePool] = Registry(
    "pool",
    "recbole_dtlns.pools",
    {
        "uniform": UniformPool.from_context,
        "popularity": PopularityPool.from_context,
        "tree": SubtreePool.from_context,
        "file": ListPool.from_context,
    },
)
