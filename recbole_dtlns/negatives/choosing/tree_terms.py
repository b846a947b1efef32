"""The multi-view terms of DTL-NS, which any rule of hardness can take up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import torch

from recbole_dtlns.components import ComponentConfig, SharedKey
from recbole_dtlns.negatives.choosing.contract import Choice
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.numerics.per_epoch import WeightPerEpoch
from recbole_dtlns.numerics.schedule import Schedule


class TreeWeights(ComponentConfig):
    """How much each item tree counts."""

    alpha_structure: Annotated[WeightPerEpoch, SharedKey("alpha_structure")] = Schedule.constant(0.1)
    """Weight of the similarity to the positive in the structure tree."""
    alpha_semantic: Annotated[WeightPerEpoch, SharedKey("alpha_semantic")] = Schedule.constant(0.3)
    """Weight of the similarity to the positive in the semantic tree."""
    alpha_text: Annotated[WeightPerEpoch, SharedKey("alpha_text")] = Schedule.constant(0.0)
    """Weight of the similarity to the positive in the text tree (dtlns_text_tree)."""


class TreeTermsConfig(TreeWeights):
    """For samplers that take the terms where they are asked to (`takes_tree_terms`)."""

    tree_terms: Annotated[bool, SharedKey("tree_terms")] = False
    """dns, dns_mn, ahns, srns, mixgcf: add the tree terms of dtlns to their hardness."""


class TreeTerms:
    """Closeness to the positive in item trees.

    Args:
        weighted: the weight of each tree by epoch, and the tree on the scores' device.
    """

    def __init__(self, weighted: Sequence[tuple[Schedule, TreeView]]) -> None:
        self._weighted = tuple(weighted)

    @classmethod
    def of(cls, config: TreeWeights, context: SamplerContext) -> Self:
        """The terms that a sampler's settings ask for.

        Raises:
            ContractError: there are no trees.
        """
        weights = {"structure": config.alpha_structure, "semantic": config.alpha_semantic}
        if any(config.alpha_text.values):
            weights["text"] = config.alpha_text
        return cls([(weight, context.view(name)) for name, weight in weights.items()])

    def added(self, hardness: torch.Tensor, choice: Choice) -> torch.Tensor:
        """Hardness scaled to [0, 1] per row, so that it is comparable across users, plus the terms, [B, n]."""
        low, high = hardness.amin(dim=1, keepdim=True), hardness.amax(dim=1, keepdim=True)
        quality = (hardness - low) / (high - low + 1e-8)
        for schedule, tree in self._weighted:
            alpha = schedule.at(choice.epoch)
            if alpha:
                quality = quality + alpha * tree.similarity(choice.positives[:, None], choice.candidates)
        return quality
