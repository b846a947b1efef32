"""What a method tells training beside the observed pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Forbidden, JudgedPairs, PseudoPositives
from recbole_dtlns.guidance.generated import GeneratedNegatives
from recbole_dtlns.trees.item_tree import ItemTree

_NOTHING = np.array([], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """All that training is told, in the canonical ids of the train pairs. Nothing of it reaches evaluation.

    Attributes:
        train: the train pairs that it was made from.
        positives: pairs that may be added as rows, each with its weight.
        forbidden: pairs that may be kept from being drawn as negatives.
        judged: pairs with the probability that they are false negatives.
        views: item trees over the train items, by name, for samplers and pools that ask for them.
        vectors: of the train items, float [n_items, d], for samplers that make negatives of them; None without.
        generated: hard negatives made for the train pairs, in the space of `vectors`, which are mixed into whatever
            negatives are chosen; None without.
    """

    train: TrainInteractions
    positives: PseudoPositives = field(default_factory=lambda: PseudoPositives.of(_NOTHING, _NOTHING))
    forbidden: Forbidden = field(default_factory=lambda: Forbidden.of(_NOTHING, _NOTHING))
    judged: JudgedPairs = field(default_factory=lambda: JudgedPairs.of(_NOTHING, _NOTHING, np.array([], np.float32)))
    views: Mapping[str, ItemTree] = field(default_factory=dict)
    vectors: np.ndarray | None = None
    generated: GeneratedNegatives | None = None

    def summary(self) -> str:
        """What there is, in sentences for the log."""
        parts = [f"{len(self.positives)} positives to add", f"{len(self.forbidden)} pairs that are no negatives"]
        if self.views:
            parts.append(f"item trees: {', '.join(self.views)}")
        if self.vectors is not None:
            parts.append(f"item vectors of {self.vectors.shape[1]} numbers")
        if self.generated is not None:
            parts.append(f"generated negatives of {self.generated.dimension} numbers")
        return "; ".join(parts)
