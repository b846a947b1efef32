"""Samplers that take the hardest candidate, or one of the hardest, by a rule of their own."""

from __future__ import annotations

import torch
from pydantic import Field

from recbole_dtlns.errors import ConfigError, ContractError
from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler
from recbole_dtlns.negatives.choosing.tree_terms import TreeTerms, TreeTermsConfig, TreeWeights
from recbole_dtlns.negatives.contract import SamplerContext


class HardestItem(ItemSampler):
    """The hardest candidate of each row. Subclass it and write `hardness`; tree terms and mixing come with it.

    Attributes:
        top: the negative is drawn uniformly from this many of the hardest.
        terms: tree terms that are added to the hardness; None for none.
    """

    class Config(TreeTermsConfig):
        """Whether tree terms are added, and how much they count."""

    config: TreeWeights
    mixable = True
    takes_tree_terms = True
    terms: TreeTerms | None = None
    top = 1

    def begin(self, context: SamplerContext) -> None:
        """As `Sampler.begin`."""
        wanted = self.reads_trees or (isinstance(self.config, TreeTermsConfig) and self.config.tree_terms)
        self.terms = TreeTerms.of(self.config, context) if wanted else None
        self._changed: list[torch.Tensor] = []

    def hardness(self, choice: Choice) -> torch.Tensor:
        """The hardness of every candidate, float [B, n]."""
        raise NotImplementedError

    def select(self, choice: Choice) -> torch.Tensor:
        """Column of the hardest candidate, the first of equal ones; with `top`, of one of the hardest."""
        hardness = quality = self.hardness(choice)
        if self.terms is not None:
            quality = self.terms.added(hardness, choice)
            changed = quality.argmax(dim=1) != hardness.argmax(dim=1)
            self._changed.append(changed.float().mean())
        if self.top == 1:
            return quality.argmax(dim=1)
        if choice.uniform is None:
            raise ContractError("one of the hardest is drawn at random, and the choice has no uniform numbers")
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


class DNS(HardestItem):
    """`dns` (Zhang et al., SIGIR 2013): the candidate that the model scores highest."""

    def hardness(self, choice: Choice) -> torch.Tensor:
        """The scores."""
        return choice.scores


class DNSMN(DNS):
    """`dns_mn` (Shi et al., WWW 2023): one of the M highest scored of N candidates."""

    class Config(TreeTermsConfig):
        """M, and tree terms."""

        prefix = "dns_"

        top: int = Field(5, ge=1)
        """dns_mn: the negative is drawn from this many of the highest scored candidates."""

    config: Config

    def begin(self, context: SamplerContext) -> None:
        """As `Sampler.begin`."""
        super().begin(context)
        self.top = self.config.top

    def check_candidates(self, most: float) -> None:
        """As `Sampler.check_candidates`."""
        if self.config.top > most:
            raise ConfigError(
                f"dtlns_dns_top ({self.config.top}) must not exceed dtlns_n_candidates ({most:g}), from which dns_mn "
                "takes the best"
            )


class MultiView(DNS):
    """`dtlns`: multi-view hard negatives (arXiv 2602.18249).

    q_j = minmax(score_j) + alpha_structure * sim_structure(p, j) + alpha_semantic * sim_semantic(p, j); the negative is
    the candidate with the largest q. With `dtlns_mixing`, as the published code has it, per layer and mixed.
    """

    class Config(TreeWeights):
        """How much each item tree counts."""

    config: Config
    reads_trees = True
    takes_tree_terms = False
