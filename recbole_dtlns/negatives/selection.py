"""Which of the drawn candidates becomes the negative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.registry import Registry

_SMALLEST_BASE = 0.05  # of AHNS: where a positive's score is below -alpha, its target would explode or turn negative


@dataclass(frozen=True)
class Choice:
    """What a selector chooses from: the candidates of a batch, scored by the model, without gradient.

    Attributes:
        positives: the rows' positive item ids [B].
        candidates: candidate item ids [B, n].
        scores: of the candidates, float [B, n].
        positive_scores: of the positives, float [B]; None unless the selector asks for them.
    """

    positives: torch.Tensor
    candidates: torch.Tensor
    scores: torch.Tensor
    positive_scores: torch.Tensor | None = None


class NegativeSelector(Protocol):
    """Chooses one candidate per row.

    Attributes:
        n_candidates: how many candidates it wants per row.
        reads_scores: whether it looks at scores; without, the model is not asked for any.
        reads_positive_scores: whether it looks at the positives' scores.
    """

    n_candidates: int
    reads_scores: bool
    reads_positive_scores: bool

    def select(self, choice: Choice) -> torch.Tensor:
        """Column of the chosen candidate per row, int64 [B]."""
        ...


class UniformSelector:
    """Uniform negatives (`rns`): one is drawn, and taken."""

    n_candidates = 1
    reads_scores = False
    reads_positive_scores = False

    @classmethod
    def from_settings(cls, settings: Any, structure: TreeView, semantic: TreeView) -> UniformSelector:
        return cls()

    def select(self, choice: Choice) -> torch.Tensor:
        """The first column."""
        return torch.zeros(len(choice.candidates), dtype=torch.long, device=choice.candidates.device)


class TreeTerms:
    """The multi-view terms of DTL-NS: closeness to the positive in two item trees.

    Args:
        alpha_co, alpha_se: weights of the structure and the semantic tree.
        structure, semantic: the two trees on the scores' device.
    """

    def __init__(self, alpha_co: float, alpha_se: float, structure: TreeView, semantic: TreeView) -> None:
        self.weighted = [(alpha, tree) for alpha, tree in ((alpha_co, structure), (alpha_se, semantic)) if alpha]

    def added(self, hardness: torch.Tensor, choice: Choice) -> torch.Tensor:
        """Hardness scaled to [0, 1] per row, so that it is comparable across users, plus the terms, [B, n]."""
        low, high = hardness.amin(dim=1, keepdim=True), hardness.amax(dim=1, keepdim=True)
        quality = (hardness - low) / (high - low + 1e-8)
        for alpha, tree in self.weighted:
            quality = quality + alpha * tree.similarity(choice.positives[:, None], choice.candidates)
        return quality


class HardSelector:
    """The hardest candidate of each row, or one of the hardest.

    Args:
        n_candidates: candidates per row.
        hardness: of every candidate, float [B, n]: a rule below.
        terms: tree terms to be added; None for none.
        top: the negative is drawn uniformly from this many of the hardest.
    """

    reads_scores = True

    def __init__(
        self,
        n_candidates: int,
        hardness: Callable[[Choice], torch.Tensor],
        terms: TreeTerms | None = None,
        top: int = 1,
        reads_positive_scores: bool = False,
    ) -> None:
        self.n_candidates = n_candidates
        self.hardness = hardness
        self.terms = terms
        self.top = top
        self.reads_positive_scores = reads_positive_scores

    def select(self, choice: Choice) -> torch.Tensor:
        """Column of the hardest candidate, the first of equal ones; with `top`, the first column among the hardest.

        Candidates stand in the random order in which they were drawn, so the first among the hardest is a uniform draw
        from them, and needs no further random number.
        """
        quality = self.hardness(choice)
        if self.terms is not None:
            quality = self.terms.added(quality, choice)
        if self.top == 1:
            return quality.argmax(dim=1)
        hardest = quality.topk(min(self.top, quality.shape[1]), dim=1).indices
        return hardest.amin(dim=1)


def model_score(choice: Choice) -> torch.Tensor:
    """DNS (Zhang et al., SIGIR 2013): the higher the model scores a candidate, the harder it is."""
    return choice.scores


class AdaptiveHardness:
    """AHNS (Lai et al., AAAI 2024): hardest is the score nearest to beta * (s_p + alpha)^(power + 1).

    With a power below -1 the target falls as the positive's score rises, so well-learnt positives get easier negatives.

    Args:
        alpha, beta, power: of the target.
    """

    def __init__(self, alpha: float, beta: float, power: float) -> None:
        self.alpha, self.beta, self.power = alpha, beta, power

    def __call__(self, choice: Choice) -> torch.Tensor:
        """Minus the distance to the target, [B, n]; a base below 0.05 counts as 0.05, where the paper has no rule."""
        assert choice.positive_scores is not None  # asked for by the selector
        base = (choice.positive_scores + self.alpha).clamp_min(_SMALLEST_BASE)
        return -(choice.scores - self.beta * base[:, None] ** (self.power + 1)).abs()


def multi_view(settings: Any, structure: TreeView, semantic: TreeView) -> HardSelector:
    """`dtlns`: hard negatives of DTL-NS at item-id level (arXiv 2602.18249, without positive mixing).

    q_j = minmax(score_j) + alpha_co * sim_structure(p, j) + alpha_se * sim_semantic(p, j); the negative is the
    candidate with the largest q.
    """
    return HardSelector(settings.n_candidates, model_score, _terms(settings, structure, semantic))


def dns(settings: Any, structure: TreeView, semantic: TreeView) -> HardSelector:
    """`dns`: the candidate that the model scores highest."""
    return HardSelector(settings.n_candidates, model_score, _terms_if_wanted(settings, structure, semantic))


def dns_mn(settings: Any, structure: TreeView, semantic: TreeView) -> HardSelector:
    """`dns_mn` (Shi et al., WWW 2023): one of the M highest scored of N candidates."""
    terms = _terms_if_wanted(settings, structure, semantic)
    return HardSelector(settings.n_candidates, model_score, terms, top=settings.dns_top)


def ahns(settings: Any, structure: TreeView, semantic: TreeView) -> HardSelector:
    """`ahns`: the hardness is adapted to each positive."""
    rule = AdaptiveHardness(settings.ahns_alpha, settings.ahns_beta, settings.ahns_power)
    terms = _terms_if_wanted(settings, structure, semantic)
    return HardSelector(settings.n_candidates, rule, terms, reads_positive_scores=True)


def _terms(settings: Any, structure: TreeView, semantic: TreeView) -> TreeTerms:
    return TreeTerms(settings.alpha_co, settings.alpha_se, structure, semantic)


def _terms_if_wanted(settings: Any, structure: TreeView, semantic: TreeView) -> TreeTerms | None:
    return _terms(settings, structure, semantic) if settings.tree_terms else None


SELECTORS: Registry[NegativeSelector] = Registry(
    "sampler",
    "recbole_dtlns.samplers",
    {"dtlns": multi_view, "rns": UniformSelector.from_settings, "dns": dns, "dns_mn": dns_mn, "ahns": ahns},
)
