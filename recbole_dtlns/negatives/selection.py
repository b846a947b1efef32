"""Which of the drawn candidates becomes the negative."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.registry import Registry


class NegativeSelector(Protocol):
    """Chooses one candidate per row.

    Attributes:
        n_candidates: how many candidates it wants per row.
    """

    n_candidates: int

    def select(self, scores: torch.Tensor, positives: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Choose.

        Args:
            scores: the model's scores of the candidates, float [B, n], without gradient.
            positives: the row's positive item ids [B].
            candidates: candidate item ids [B, n].

        Returns:
            column of the chosen candidate, int64 [B].
        """
        ...


class MultiViewSelector:
    """Hard negatives of DTL-NS at item-id level (arXiv 2602.18249, without positive mixing).

    q_j = minmax(score_j) + alpha_co * sim_structure(p, j) + alpha_se * sim_semantic(p, j); the negative is the
    candidate with the largest q. Scores are scaled per row, so both terms are comparable across users.

    Args:
        n_candidates: candidates per row.
        alpha_co, alpha_se: weights of the structure and the semantic tree.
        structure, semantic: the two trees on the scores' device.
    """

    def __init__(
        self, n_candidates: int, alpha_co: float, alpha_se: float, structure: TreeView, semantic: TreeView
    ) -> None:
        self.n_candidates = n_candidates
        self.alpha_co = alpha_co
        self.alpha_se = alpha_se
        self.structure = structure
        self.semantic = semantic

    @classmethod
    def from_settings(cls, settings: Any, structure: TreeView, semantic: TreeView) -> MultiViewSelector:
        return cls(settings.n_candidates, settings.alpha_co, settings.alpha_se, structure, semantic)

    def select(self, scores: torch.Tensor, positives: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Column of the largest q per row; the first of equal ones."""
        low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
        quality = (scores - low) / (high - low + 1e-8)
        anchor = positives[:, None]
        if self.alpha_co:
            quality = quality + self.alpha_co * self.structure.similarity(anchor, candidates)
        if self.alpha_se:
            quality = quality + self.alpha_se * self.semantic.similarity(anchor, candidates)
        return quality.argmax(dim=1)


SELECTORS: Registry[NegativeSelector] = Registry(
    "sampler", "recbole_dtlns.samplers", {"dtlns": MultiViewSelector.from_settings}
)
