"""Negatives: which items may be drawn, and which of those drawn is the hard one."""

from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler
from recbole_dtlns.negatives.choosing.hardest import HardestItem
from recbole_dtlns.negatives.choosing.tree_terms import TreeTermsConfig
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.pools.contract import CandidatePool, PoolContext
from recbole_dtlns.negatives.vectors.contract import LayerChoice, LayerNegatives, VectorSampler

__all__ = [
    "CandidatePool",
    "Choice",
    "HardestItem",
    "ItemSampler",
    "LayerChoice",
    "LayerNegatives",
    "PoolContext",
    "SamplerContext",
    "TreeTermsConfig",
    "VectorSampler",
]
