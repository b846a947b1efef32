"""What a model can take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from recbole_dtlns.negatives.vectors.contract import LayerJoin

SOFTMAX, PAIRWISE = "CE", "BPR"  # values of RecBole's `loss_type`


def no_arguments(_: Any) -> tuple[Any, ...]:
    """What most models that propagate give to `forward`."""
    return ()


@dataclass(frozen=True)
class Layers:
    """How a model holds embeddings layer by layer, if its score is the dot product of a user's and an item's.

    Attributes:
        join: how it joins its layers.
        arguments: what its loss gives to `forward`, which then propagates and returns all users' and all items'
            vectors; None where the embedding tables are all (matrix factorisation).
        items: the attribute that holds the items' embeddings of layer 0; entities that are no items may follow them.
    """

    join: LayerJoin
    arguments: Callable[[Any], tuple[Any, ...]] | None = None
    items: str = "item_embedding"

    def item_table(self, model: Any) -> nn.Embedding:
        """The items' embeddings of layer 0."""
        table: nn.Embedding = getattr(model, self.items)
        return table


@dataclass(frozen=True)
class Capability:
    """What a model can take.

    Attributes:
        negatives: its loss reads negative item ids, so hard negatives and weighted positive rows reach it.
        graph: its constructor reads the interactions (graph, history or matrix), so `dtlns_relabel_graph` reaches it.
        why: what limits it, in a few words for the guide's table; empty where nothing does.
        state: attributes that training changes outside the weights, and that RecBole's checkpoints forget.
        fitted: attributes that hold all that a closed-form model scores by, where checkpoints hold these; a saved model
            is given them, and not fitted again.
        layers: how negatives can be made of its embeddings; None where they cannot.
        no_layers: why they cannot, and why products of two vectors are not its scores, where they are not; empty where
            the model takes no negatives at all.
        bpr_term: its loss holds RecBole's `BPRLoss`, which another ranking loss can take the place of.
        term: the attribute that holds it, where the model has further ones.
        sums_rows: its loss is a sum over the rows of a batch, where others take the mean.
        forms: of a sequential model, the values of RecBole's `loss_type` whose term can be changed: `BPR`, a
            `BPRLoss`, and `CE`, a `CrossEntropyLoss` over the scores of all items.
        sequence_items: the vectors of all items [n_items, D] whose products with what `forward` makes of a sequence are
            its scores; None where they are none.
        reads_users: of a sequential model: it has vectors of users beside those of sequences.
        reads_drawn_sequences: of a sequential model: a row has a sequence of negatives beside that of the user.
        shortlists: of a model that ranks its best items again: the keys for how many such lists, and of which lengths.
        stage: a key and the value that it must have for the above to hold.
        labels: its loss is the cross-entropy of the rows' labels, so rows that the data label keep their own.
        remade: attributes that RecBole's checkpoints hold, and that the constructor makes the same again.
        one_mean: its loss is one mean over rows and facts, so that rows are weighed apart from these.
        heavy_scores: a score takes so many numbers that few are made at once.
        needs_history: it has no scores for users without train pairs.
    """

    negatives: bool
    graph: bool
    why: str = ""
    state: tuple[str, ...] = ()
    fitted: tuple[str, ...] = ()
    layers: Layers | None = None
    no_layers: str = ""
    bpr_term: bool = False
    term: str | None = None
    sums_rows: bool = False
    forms: tuple[str, ...] = ()
    sequence_items: Callable[[Any], torch.Tensor] | None = None
    reads_users: bool = False
    reads_drawn_sequences: bool = False
    shortlists: tuple[str, str] | None = None
    stage: tuple[str, str] | None = None
    labels: bool = False
    remade: tuple[str, ...] = ()
    one_mean: bool = False
    heavy_scores: bool = False
    needs_history: bool = False

    @property
    def takes_lists(self) -> bool:
        """Whether a loss over a user's whole list can take the place of its own."""
        return self.layers is not None and self.bpr_term

    @property
    def has_vectors(self) -> bool:
        """Whether its scores are products of two vectors: of a user or a sequence, and of an item."""
        return self.layers is not None or self.sequence_items is not None

    @property
    def by_softmax(self) -> bool:
        """Whether one of its forms is a softmax over all items."""
        return SOFTMAX in self.forms
