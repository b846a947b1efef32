"""The pools by name."""

from __future__ import annotations

from recbole_dtlns.negatives.pools.contract import CandidatePool
from recbole_dtlns.negatives.pools.listed import ListPool
from recbole_dtlns.negatives.pools.popularity import PopularityPool
from recbole_dtlns.negatives.pools.subtree import SubtreePool
from recbole_dtlns.negatives.pools.uniform import UniformPool
from recbole_dtlns.registry import Registry

POOLS: Registry[CandidatePool] = Registry(
    "pool",
    "recbole_dtlns.pools",
    {
        "uniform": UniformPool,
        "popularity": PopularityPool,
        "tree": SubtreePool,
        "file": ListPool,
    },
)
