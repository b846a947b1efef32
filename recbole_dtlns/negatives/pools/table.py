"""The pools by name."""

from __future__ import annotations

from recbole_dtlns.negatives.pools.contract import CandidatePool, UniformPool
from recbole_dtlns.negatives.pools.listed import ListPool
from recbole_dtlns.negatives.pools.popularity import PopularityPool
from recbole_dtlns.negatives.pools.subtree import SubtreePool
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
