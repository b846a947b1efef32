"""Negatives disentangled by learnt gates."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import ConfigError, ContractError
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.vectors.contract import (
    LayerChoice,
    LayerJoin,
    LayerNegatives,
    VectorSampler,
    joined_layers,
)


class DENS(VectorSampler):
    """`dens` (Lai et al., WSDM 2023): negatives that are irrelevant at first, and relevant ones later, by learnt gates.

    Gates split positives and candidates into a relevant and an irrelevant part: g_p = sigmoid(W_i e_p + W_u e_u),
    p_r = p * g_p, g_j = sigmoid(W_n e_j + W_p p_r), j_r = j * g_j. Per layer the negative is
    argmax_j <e_u, (1 - min(1, epoch / warm-up)) e_j - j_r>, as it is. The gates learn from four BPR terms that hold the
    relevant part of the positive above its irrelevant part and above the candidate's, and the reverse.
    """

    class Config(ComponentConfig):
        """What the gates learn from, and when."""

        prefix = "dens_"

        gamma: float = Field(0.3, ge=0)
        """dens: weight of the loss that the gates learn from."""
        warmup: int = Field(100, ge=1)
        """dens: epochs from negatives with large irrelevant parts to relevant ones."""

    config: Config

    def begin(self, context: SamplerContext) -> None:
        """As `Sampler.begin`.

        Raises:
            ContractError: the model has no embedding_size.
        """
        if context.dimension is None:
            raise ContractError("dtlns_sampler: dens makes gates of the model's embedding_size, and it has none")
        self.dimension = context.dimension
        gates = {name: nn.Linear(self.dimension, self.dimension) for name in ("item", "user", "neg", "pos")}
        for gate in gates.values():
            nn.init.xavier_uniform_(gate.weight)
            nn.init.zeros_(gate.bias)
        self.module = self.gates = nn.ModuleDict(gates)
        self.gates.to(context.device)

    def negatives(self, choice: LayerChoice) -> LayerNegatives:
        """As `VectorSampler.negatives`; its loss is gamma times the mean of the four BPR terms."""
        lengths = {table.shape[1] for table in choice.item_layers}
        if lengths != {self.dimension}:
            raise ConfigError(
                f"dtlns_sampler: dens needs layers of one length, the embedding's {self.dimension}, and those here are "
                f"{', '.join(map(str, sorted(lengths)))} long: set the sizes of its layers to embedding_size"
            )
        kept = 1 - min(1.0, choice.epoch / self.config.warmup)
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
        return LayerNegatives(made, torch.stack(items_chosen, dim=1), self._four_terms(parts, choice.join))

    def _candidate_gate(self, item: torch.Tensor, positive_relevant: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.gates["neg"](item) + self.gates["pos"](positive_relevant))

    def _four_terms(self, parts: list[tuple[torch.Tensor, ...]], join: LayerJoin) -> torch.Tensor:
        vectors = (joined_layers(list(layers), join) for layers in zip(*parts, strict=True))
        user, *items = vectors
        p_r, p_ir, j_r, j_ir = ((user * item).sum(dim=1) for item in items)
        pairs = ((p_r, p_ir), (j_ir, j_r), (p_r, j_r), (j_ir, p_ir))
        terms = torch.stack([functional.softplus(lower - higher) for higher, lower in pairs])
        return self.config.gamma * terms.mean(dim=0)
