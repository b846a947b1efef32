"""What makes negatives of embeddings, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from recbole_dtlns.negatives.contract import PastScores, Sampler

LayerJoin = Literal["mean", "concat"]


@dataclass(frozen=True)
class LayerChoice:
    """What a negative is made from: the candidates of a batch and the embeddings of every layer, with gradient.

    Attributes:
        users, positives: ids of the rows [B].
        candidates: candidate item ids [B, n].
        user_layers, item_layers: embeddings of all users and items, one table per layer, [n_users, d] and
            [n_items, d]; matrix factorisation has one layer, the embedding itself.
        join: how the model joins the layers: their mean, or one after the other.
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
    join: LayerJoin
    mixing: torch.Tensor
    uniform: torch.Tensor
    epoch: int = 0
    past: PastScores | None = None

    def scoring_users(self) -> list[torch.Tensor]:
        """The vector that scores the items of each layer, [B, d]: the mean over layers, or the layer's own.

        Where layers stand one after the other, the score is the sum of the layers' products.
        """
        own = [layer[self.users] for layer in self.user_layers]
        if self.join == "concat":
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


class VectorSampler(Sampler):
    """Makes negatives from the layers of a model; needs a model that has them. Subclass it and write `negatives`."""

    def negatives(self, choice: LayerChoice) -> LayerNegatives:
        """The negative of every row."""
        raise NotImplementedError


def joined_layers(layers: Sequence[torch.Tensor], join: LayerJoin) -> torch.Tensor:
    """Layers [N, d] joined as the model joins them: [N, d], or [N, layers * d]."""
    return torch.stack(list(layers)).mean(dim=0) if join == "mean" else torch.cat(list(layers), dim=1)
