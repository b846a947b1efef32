"""Generated negatives in training: brought into the model's space by a head, and mixed into the chosen ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import ConfigError, ContractError
from recbole_dtlns.negatives.choosing.contract import ItemSampler
from recbole_dtlns.negatives.contract import Sampler, SamplerContext
from recbole_dtlns.negatives.vectors.chosen import ChosenVectors
from recbole_dtlns.negatives.vectors.contract import LayerChoice, LayerNegatives, VectorSampler, joined_layers
from recbole_dtlns.numerics.per_epoch import SharePerEpoch, WeightPerEpoch
from recbole_dtlns.numerics.schedule import Schedule

_DIGITS = 4096  # a row's uniform number chooses an item by its first 12 bits, and a vector by the rest
_LEARNT_FROM = 512  # rows of a batch, which come in random order: the head is small, and more rows cost time alone


class SemanticMixing(VectorSampler):
    """Mixes the generated negative of a pair into the one that a sampler chose (HNLMRec, arXiv 2504.05050).

    With x the generated vector of (u, p), h = head(x), and e_j what the sampler chose or made: the negative is
    a h + (1 - a) e_j in every layer, and beside the ranking loss stands
    L_cl = -log(exp(cos(u, p) / t) / (exp(cos(u, p) / t) + exp(cos(u, h) / t))). Pairs without a generated negative keep
    e_j.

    The published head is in no optimizer, and ends in a ReLU. This one is trained. The ranking loss alone would teach
    it to make negatives that are easy, for that lowers the loss; so it learns instead that what an item says lies where
    the model has the item: |head(x_p) - e_p|^2, with e_p the mean of its layers, held fixed. `ranking_reaches_head`
    lets the other losses through to it as well.

    Where a and the weight of L_cl are 0, the sampler alone is at work, as if this were not there.

    Args:
        rule: the sampler that it builds on.
        config: as for any component.
    """

    class Config(ComponentConfig):
        """How much the generated negatives count, and how the head learns."""

        prefix = "hnlmrec_"

        share: SharePerEpoch = Schedule.constant(0.3)
        """Share a of the generated negative in the mix, the rest is what the sampler chose."""
        contrast: WeightPerEpoch = Schedule.constant(0.0)
        """Weight of L_cl, which holds the positive above the generated negative in cosine; published: 0.001. At 0 a
        step takes less time."""
        temperature: float = Field(0.2, gt=0)
        """Divides the cosines of L_cl."""
        head: list[int] = Field(default_factory=lambda: [64])
        """Widths of the hidden layers of the head from the generated vectors to the model's; none: it is linear."""
        align: float = Field(1.0, ge=0)
        """Weight of what the head learns from: that what an item says lies where the model has the item."""
        ranking_reaches_head: bool = False
        """Whether the ranking loss and L_cl train the head too; they teach it to make negatives that are easy."""

        @model_validator(mode="after")
        def _head_learns(self) -> Self:
            if not self.align and not self.ranking_reaches_head:
                raise ConfigError(
                    "dtlns_hnlmrec_align is 0 and dtlns_hnlmrec_ranking_reaches_head False: the head would not be "
                    "trained. Set one of them"
                )
            if any(width < 1 for width in self.head):
                raise ConfigError(f"dtlns_hnlmrec_head: widths are from 1 on, not {self.head}")
            return self

    config: Config

    def __init__(self, rule: ItemSampler | VectorSampler, config: Config | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.alone = rule
        self.rule = rule if isinstance(rule, VectorSampler) else ChosenVectors(rule)
        self.past_epochs = rule.past_epochs
        self._missing: list[torch.Tensor] = []
        self._above: list[torch.Tensor] = []

    def begin(self, context: SamplerContext) -> None:
        """As `Sampler.begin`.

        Raises:
            ContractError: nothing was generated, or the model has no embedding_size.
            ConfigError: the generated vectors are of another length than the items', which the head learns from.
        """
        self.rule.begin(context)
        if context.generated is None or context.dimension is None:
            raise ContractError("generated negatives are mixed where there are some, into a model's embedding_size")
        self.generated, self.vectors = context.generated, context.vectors
        size = self.generated.dimension
        if self.config.align and (self.vectors is None or self.vectors.shape[1] != size):
            raise ConfigError(
                f"the generated vectors have {size} numbers, and those of items another length or none: the head "
                "cannot learn from items. Set dtlns_hnlmrec_align: 0 and dtlns_hnlmrec_ranking_reaches_head: True"
            )
        with torch.random.fork_rng(devices=[]):  # the model's own draws go on as without a head
            self.head = AlignmentHead(size, self.config.head, context.dimension)
        self.module = nn.ModuleDict({"head": self.head.to(context.device)})
        if self.rule.module is not None:
            self.module["rule"] = self.rule.module

    def in_epoch(self, epoch: int) -> Sampler:
        """The sampler alone, in epochs in which nothing generated counts."""
        counts = self.config.share.at(epoch) > 0 or self.config.contrast.at(epoch) > 0
        return self if counts else self.alone

    def propose(self, users: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """As the sampler proposes."""
        return self.rule.propose(users, drawn)

    def negatives(self, choice: LayerChoice) -> LayerNegatives:
        """As `VectorSampler.negatives`; its loss is L_cl and what the head learns from, weighed.

        Raises:
            ConfigError: the model's layers differ in length.
        """
        self._check_layers(choice.item_layers)
        made = self.rule.negatives(choice)
        vectors, known = self.generated(choice.users, choice.positives, (choice.uniform * _DIGITS) % 1)
        weight, share = self.config.contrast.at(choice.epoch), self.config.share.at(choice.epoch)
        with torch.set_grad_enabled(weight > 0):  # gradients of whole tables are what a step spends most on
            users, positives = (
                [functional.embedding(ids, layer) for layer in layers]
                for ids, layers in ((choice.users, choice.user_layers), (choice.positives, choice.item_layers))
            )
        semantic, learnt = self._through_head(vectors, choice.positives, torch.stack(positives).detach().mean(dim=0))
        mixed = known[:, None] * share
        losses = [loss for loss in (learnt, made.loss) if loss is not None]
        user, positive = joined_layers(users, choice.join), joined_layers(positives, choice.join)
        generated = semantic if choice.join == "mean" else semantic.repeat(1, len(positives))
        if weight:
            near, far = (functional.cosine_similarity(user, other, dim=1) for other in (positive, generated))
            losses.append(weight * known * functional.softplus((far - near) / self.config.temperature))
        with torch.no_grad():
            self._missing.append(1 - known.float().mean())
            self._above.append((known & ((user * (generated - positive)).sum(dim=1) > 0)).float().mean())
        return LayerNegatives(
            [torch.lerp(layer, semantic, mixed) for layer in made.layers],
            made.items,
            torch.stack(losses).sum(dim=0) if losses else None,
        )

    def _through_head(
        self, vectors: torch.Tensor, positives: torch.Tensor, places: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """h [B, d], and what the head learns from [B], given where the model has the positives [B, d]."""
        with torch.set_grad_enabled(self.config.ranking_reaches_head):
            semantic = self.head(vectors)
        if not self.config.align or self.vectors is None:
            return semantic, None
        rows = len(positives)
        said = functional.embedding(positives[:_LEARNT_FROM], self.vectors)
        distance = (self.head(said) - places[:_LEARNT_FROM]).square().sum(dim=1) * said.any(dim=1)
        learnt = self.config.align * (rows / len(said)) * distance
        return semantic, functional.pad(learnt, (0, rows - len(said)))

    def _check_layers(self, tables: Sequence[torch.Tensor]) -> None:
        lengths = {table.shape[1] for table in tables}
        if lengths != {self.head.dimension}:
            raise ConfigError(
                f"generated negatives are of the length of the embedding, {self.head.dimension}, and the model's "
                f"layers are {', '.join(map(str, sorted(lengths)))} long: set the sizes of its layers to embedding_size"
            )

    def facts(self) -> dict[str, float]:
        """The sampler's, the share of rows without a generated negative, and of those above the positive."""
        found = dict(self.rule.facts())
        for name, shares in (
            ("rows without a generated negative", self._missing),
            ("generated ones above", self._above),
        ):
            if shares:
                found[name] = float(torch.stack(shares).mean())
                shares.clear()
        return found

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.rule.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.rule.load_state_dict(state)


class AlignmentHead(nn.Module):
    """From the space of generated vectors to the model's: linear layers with GELU between them, none after the last.

    Args:
        size: length of a generated vector; it is scaled to numbers of about 1.
        hidden: widths of the hidden layers.
        dimension: of the model.
    """

    def __init__(self, size: int, hidden: Sequence[int], dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        widths = [size, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], dimension))
        self._scale = size**0.5

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """[B, size] to [B, dimension], as whole as the model's tables where autocast lowers what the layers give."""
        placed: torch.Tensor = self.layers(self._scale * functional.normalize(vectors, dim=1))
        return placed.float()
