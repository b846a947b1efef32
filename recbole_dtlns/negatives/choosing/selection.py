"""What a negative sampler is: it chooses, per training row, which of the drawn candidates becomes the negative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.numerics.schedule import Schedule

PastScores = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class SamplerContext:
    """What a sampler is made from.

    Attributes:
        settings: the run's `dtlns_*` settings.
        n_users, n_items: number of ids, the padding id 0 included.
        device: of the model.
        structure, semantic: similarity in the two item trees; None where nothing was prepared.
        dimension: the model's embedding_size; None where it has no such setting.
    """

    settings: Any
    n_users: int
    n_items: int
    device: torch.device | str
    structure: TreeView | None = None
    semantic: TreeView | None = None
    dimension: int | None = None


@dataclass(frozen=True)
class Choice:
    """What is chosen from: the candidates of a batch, scored by the model, without gradient.

    Attributes:
        users, positives: ids of the rows [B].
        candidates: candidate item ids [B, n].
        scores: of the candidates, float [B, n]; zeros unless the sampler reads scores.
        positive_scores: of the positives, float [B]; None unless the sampler asks for them.
        uniform: one number in [0, 1) per row, for samplers that choose at random [B].
        epoch: from 0.
        past: asks the model as it was after each of the last epochs for its scores of items [B, m]: returns theirs
            [epochs, B, m] and the positives' [epochs, B]. None unless the sampler asks for past epochs.
    """

    users: torch.Tensor
    positives: torch.Tensor
    candidates: torch.Tensor
    scores: torch.Tensor
    positive_scores: torch.Tensor | None = None
    uniform: torch.Tensor | None = None
    epoch: int = 0
    past: PastScores | None = None


class NegativeSampler:
    """Chooses one candidate per row. Subclass it, write `select`, and name the class in an entry point.

    Attributes:
        reads_scores: whether it looks at scores; without, the model is not asked for any.
        reads_positive_scores: whether it looks at the positives' scores.
        past_epochs: of how many past epochs it wants to see scores.
        module: what it learns together with the model, if anything; it is trained and saved as part of the model.
    """

    reads_scores = True
    reads_positive_scores = False
    past_epochs = 0
    module: nn.Module | None = None

    @classmethod
    def from_context(cls, context: SamplerContext) -> Self:
        """The sampler that the run's settings describe."""
        return cls()

    def propose(self, users: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """The candidates [B, m] to be scored and chosen from, given those drawn from the pool [B, n]."""
        return drawn

    def select(self, choice: Choice) -> torch.Tensor:
        """Column of the chosen candidate per row, int64 [B]."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What it has learnt from past batches, beside `module`; saved in checkpoints."""
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from a saved state."""

    def facts(self) -> dict[str, float]:
        """Figures on the choices since the last call, for the log."""
        return {}


class FirstDrawn(NegativeSampler):
    """Takes what was drawn: `rns` from the uniform pool, `popularity` from the popularity pool."""

    reads_scores = False

    def select(self, choice: Choice) -> torch.Tensor:
        """The first column."""
        return torch.zeros(len(choice.candidates), dtype=torch.long, device=choice.candidates.device)


class TreeTerms:
    """The multi-view terms of DTL-NS: closeness to the positive in two item trees.

    Args:
        alpha_co, alpha_se: weights of the structure and the semantic tree, by epoch.
        structure, semantic: the two trees on the scores' device.
    """

    def __init__(self, alpha_co: Schedule, alpha_se: Schedule, structure: TreeView, semantic: TreeView) -> None:
        self._weighted = ((alpha_co, structure), (alpha_se, semantic))

    @classmethod
    def from_context(cls, context: SamplerContext) -> TreeTerms:
        assert context.structure is not None and context.semantic is not None, "settings that use trees prepare them"
        settings = context.settings
        return cls(settings.alpha_co, settings.alpha_se, context.structure, context.semantic)

    def added(self, hardness: torch.Tensor, choice: Choice) -> torch.Tensor:
        """Hardness scaled to [0, 1] per row, so that it is comparable across users, plus the terms, [B, n]."""
        low, high = hardness.amin(dim=1, keepdim=True), hardness.amax(dim=1, keepdim=True)
        quality = (hardness - low) / (high - low + 1e-8)
        for schedule, tree in self._weighted:
            alpha = schedule.at(choice.epoch)
            if alpha:
                quality = quality + alpha * tree.similarity(choice.positives[:, None], choice.candidates)
        return quality


class HardSampler(NegativeSampler):
    """The hardest candidate of each row, or one of the hardest.

    Args:
        hardness: of every candidate, float [B, n]: a rule below.
        terms: tree terms to be added; None for none.
        top: the negative is drawn uniformly from this many of the hardest.
        reads_positive_scores: whether the rule does.
    """

    def __init__(
        self,
        hardness: Callable[[Choice], torch.Tensor],
        terms: TreeTerms | None = None,
        top: int = 1,
        reads_positive_scores: bool = False,
    ) -> None:
        self.hardness = hardness
        self.terms = terms
        self.top = top
        self.reads_positive_scores = reads_positive_scores
        self._changed: list[torch.Tensor] = []

    def select(self, choice: Choice) -> torch.Tensor:
        """Column of the hardest candidate, the first of equal ones; with `top`, of one of the hardest."""
        hardness = quality = self.hardness(choice)
        if self.terms is not None:
            quality = self.terms.added(hardness, choice)
            changed = quality.argmax(dim=1) != hardness.argmax(dim=1)
            self._changed.append(changed.float().mean())
        if self.top == 1:
            return quality.argmax(dim=1)
        assert choice.uniform is not None
        hardest = quality.topk(min(self.top, quality.shape[1]), dim=1).indices
        place = (choice.uniform * hardest.shape[1]).long().clamp_max(hardest.shape[1] - 1)
        return hardest.gather(1, place[:, None]).squeeze(1)

    def facts(self) -> dict[str, float]:
        """The share of rows in which the tree terms changed which candidate is the hardest."""
        if not self._changed:
            return {}
        share = float(torch.stack(self._changed).mean())
        self._changed.clear()
        return {"choices changed by the trees": share}


def model_score(choice: Choice) -> torch.Tensor:
    """DNS (Zhang et al., SIGIR 2013): the higher the model scores a candidate, the harder it is."""
    return choice.scores


class AdaptiveHardness:
    """AHNS (Lai et al., AAAI 2024): hardest is the score nearest to beta * (s_p + alpha)^(power + 1).

    With a power below -1 the target falls as the positive's score rises, so well-learnt positives get easier negatives.

    Args:
        alpha, beta, power: of the target.
    """

    _SMALLEST_BASE = 0.05  # where a positive's score is below -alpha, its target would explode or turn negative

    def __init__(self, alpha: float, beta: float, power: float) -> None:
        self.alpha, self.beta, self.power = alpha, beta, power

    def __call__(self, choice: Choice) -> torch.Tensor:
        """Minus the distance to the target, [B, n]; a base below 0.05 counts as 0.05, where the paper has no rule."""
        assert choice.positive_scores is not None  # asked for by the sampler
        base = (choice.positive_scores + self.alpha).clamp_min(self._SMALLEST_BASE)
        return -(choice.scores - self.beta * base[:, None] ** (self.power + 1)).abs()


def terms_if_wanted(context: SamplerContext) -> TreeTerms | None:
    """The tree terms where `dtlns_tree_terms` asks for them."""
    return TreeTerms.from_context(context) if context.settings.tree_terms else None
