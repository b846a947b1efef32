"""Negatives made of embeddings, layer by layer: mixed with the positive, or disentangled by learnt gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import nn
from torch.nn import functional

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.negatives.choosing.selection import Choice, HardSampler, NegativeSampler, PastScores, SamplerContext
from recbole_dtlns.negatives.products import candidate_scores

Pooling = Literal["mean", "concat"]


@dataclass(frozen=True)
class LayerChoice:
    """What a negative is made from: the candidates of a batch and the embeddings of every layer, with gradient.

    Attributes:
        users, positives: ids of the rows [B].
        candidates: candidate item ids [B, n].
        user_layers, item_layers: embeddings of all users and items, one table per layer, [n_users, d] and
            [n_items, d]; matrix factorisation has one layer, the embedding itself.
        pooling: how the model joins the layers: their mean, or one after the other.
        mixing: one number in [0, 1) per row and layer [B, layers].
        uniform: one number in [0, 1) per row [B].
        epoch: from 0.
        past: as in `Choice`; None where the sampler asks for no past epochs.
    """

    users: torch.Tensor
    positives: torch.Tensor
    candidates: torch.Tensor
    user_layers: Sequence[torch.Tensor]
    item_layers: Sequence[torch.Tensor]
    pooling: Pooling
    mixing: torch.Tensor
    uniform: torch.Tensor
    epoch: int = 0
    past: PastScores | None = None

    def scoring_users(self) -> list[torch.Tensor]:
        """The vector that scores the items of each layer, [B, d]: the mean over layers, or the layer's own.

        Where layers stand one after the other, the score is the sum of the layers' products.
        """
        own = [layer[self.users] for layer in self.user_layers]
        if self.pooling == "concat":
            return own
        mean = torch.stack(own).mean(dim=0)
        return [mean] * len(own)


@dataclass(frozen=True)
class LayerNegatives:
    """One negative per row.

    Attributes:
        layers: its vector in every layer, [B, d] each, with gradient.
        items: the item that each layer's was made from, [B, layers].
        loss: what the sampler wants minimised beside the model's loss, per row [B]; None for nothing.
    """

    layers: list[torch.Tensor]
    items: torch.Tensor
    loss: torch.Tensor | None = None


class LayerSampler(NegativeSampler):
    """Makes negatives from the layers of a model; needs a model that has them."""

    def negatives(self, choice: LayerChoice) -> LayerNegatives:
        """The negative of every row."""
        raise NotImplementedError


class MixingSampler(LayerSampler):
    """Positive mixing and hop mixing (MixGCF, Huang et al., KDD 2021), with any rule for what is hard.

    Per row and layer h: e~_j = a e_p + (1 - a) e_j with a ~ U(0, 1), scores <u, e~_j>, the hardest j of that layer, and
    the negative's layer h is its e~_j. The choice has no gradient, the mixed vector has.

    Args:
        rule: chooses per layer; it sees the scores of the mixed candidates.
    """

    def __init__(self, rule: HardSampler) -> None:
        self.rule = rule

    def negatives(self, choice: LayerChoice) -> LayerNegatives:
        """As `LayerSampler.negatives`."""
        made, items_chosen = [], []
        for layer, (user, items) in enumerate(zip(choice.scoring_users(), choice.item_layers, strict=True)):
            share = choice.mixing[:, layer : layer + 1]
            positive = items[choice.positives]
            with torch.no_grad():
                positive_scores = (user * positive).sum(dim=1)
                scores = candidate_scores(user, items, choice.candidates)
                mixed = share * positive_scores[:, None] + (1 - share) * scores
                column = self.rule.select(
                    Choice(
                        choice.users,
                        choice.positives,
                        choice.candidates,
                        mixed,
                        positive_scores,
                        choice.uniform,
                        choice.epoch,
                    )
                )
            chosen = choice.candidates.gather(1, column[:, None]).squeeze(1)
            made.append(share * positive + (1 - share) * items[chosen])
            items_chosen.append(chosen)
        return LayerNegatives(made, torch.stack(items_chosen, dim=1))

    def facts(self) -> dict[str, float]:
        return self.rule.facts()


class DisentangledSampler(LayerSampler):
    """DENS (Lai et al., WSDM 2023): negatives that are irrelevant at first, and relevant ones later, by learnt gates.

    Gates split positives and candidates into a relevant and an irrelevant part: g_p = sigmoid(W_i e_p + W_u e_u),
    p_r = p * g_p, g_j = sigmoid(W_n e_j + W_p p_r), j_r = j * g_j. Per layer the negative is
    argmax_j <e_u, (1 - min(1, epoch / warm-up)) e_j - j_r>, as it is. The gates learn from four BPR terms that hold the
    relevant part of the positive above its irrelevant part and above the candidate's, and the reverse.

    Args:
        dimension: length of an embedding per layer.
        gamma: weight of the four terms' mean.
        warm_up: epochs.
    """

    def __init__(self, dimension: int, gamma: float, warm_up: int) -> None:
        gates = {name: nn.Linear(dimension, dimension) for name in ("item", "user", "neg", "pos")}
        for gate in gates.values():
            nn.init.xavier_uniform_(gate.weight)
            nn.init.zeros_(gate.bias)
        self.module = self.gates = nn.ModuleDict(gates)
        self.dimension, self.gamma, self.warm_up = dimension, gamma, warm_up

    @classmethod
    def from_context(cls, context: SamplerContext) -> Self:
        assert context.dimension is not None, "models with layers have an embedding_size"
        gates = cls(context.dimension, context.settings.dens_gamma, context.settings.dens_warmup)
        gates.gates.to(context.device)
        return gates

    def negatives(self, choice: LayerChoice) -> LayerNegatives:
        """As `LayerSampler.negatives`; its loss is gamma times the mean of the four BPR terms."""
        lengths = {table.shape[1] for table in choice.item_layers}
        if lengths != {self.dimension}:
            raise ConfigError(
                f"dtlns_sampler: dens needs layers of one length, the embedding's {self.dimension}, and those here are "
                f"{', '.join(map(str, sorted(lengths)))} long: set the sizes of its layers to embedding_size"
            )
        kept = 1 - min(1.0, choice.epoch / self.warm_up)
        parts: list[tuple[torch.Tensor, ...]] = []
        made, items_chosen = [], []
        for users, items in zip(choice.user_layers, choice.item_layers, strict=True):
            user, positive = users[choice.users], items[choice.positives]
            relevant = positive * torch.sigmoid(self.gates["item"](positive) + self.gates["user"](user))
            with torch.no_grad():
                drawn = items[choice.candidates]
                drawn_relevant = drawn * self._candidate_gate(drawn, relevant[:, None])
                hardness = torch.einsum("bd,bnd->bn", user, kept * drawn - drawn_relevant)
                chosen = choice.candidates.gather(1, hardness.argmax(dim=1, keepdim=True)).squeeze(1)
            negative = items[chosen]
            negative_relevant = negative * self._candidate_gate(negative, relevant)
            made.append(negative)
            items_chosen.append(chosen)
            parts.append((user, relevant, positive - relevant, negative_relevant, negative - negative_relevant))
        return LayerNegatives(made, torch.stack(items_chosen, dim=1), self._four_terms(parts, choice.pooling))

    def _candidate_gate(self, item: torch.Tensor, positive_relevant: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.gates["neg"](item) + self.gates["pos"](positive_relevant))

    def _four_terms(self, parts: list[tuple[torch.Tensor, ...]], pooling: Pooling) -> torch.Tensor:
        pooled = (pool(list(layers), pooling) for layers in zip(*parts, strict=True))
        user, *items = pooled
        p_r, p_ir, j_r, j_ir = ((user * item).sum(dim=1) for item in items)
        pairs = ((p_r, p_ir), (j_ir, j_r), (p_r, j_r), (j_ir, p_ir))
        terms = torch.stack([functional.softplus(lower - higher) for higher, lower in pairs])
        return self.gamma * terms.mean(dim=0)


def pool(layers: Sequence[torch.Tensor], pooling: Pooling) -> torch.Tensor:
    """Layers [N, d] joined as the model joins them: [N, d], or [N, layers * d]."""
    return torch.stack(list(layers)).mean(dim=0) if pooling == "mean" else torch.cat(list(layers), dim=1)
