"""One training step: score the candidates, choose or make the negatives, take the loss, weigh the rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType

from recbole_dtlns.bridge.data.dataloader import CANDIDATES, CHOSEN, ROW, UNIFORM, WEIGHT, DTLNSTrainDataLoader
from recbole_dtlns.bridge.data.rows import rows_of
from recbole_dtlns.bridge.models.capability import Layers
from recbole_dtlns.bridge.models.encoded_sequences import EncodedSequences
from recbole_dtlns.bridge.models.kinds import capability, kind_of
from recbole_dtlns.bridge.models.list_loss import ListObjective
from recbole_dtlns.bridge.models.propagation import LayerReader, propagation_shared, virtual_items
from recbole_dtlns.bridge.models.ranking_loss import Objective, RankingLoss, Tables, bpr_term, label_term, rows_weighed
from recbole_dtlns.bridge.models.scoring import PastModels, Scorer
from recbole_dtlns.bridge.models.softmax_loss import SoftmaxObjective
from recbole_dtlns.errors import ContractError
from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler
from recbole_dtlns.negatives.contract import PastScores
from recbole_dtlns.negatives.vectors.contract import LayerChoice, VectorSampler, joined_layers

Losses = Any  # a scalar tensor, or a tuple of them, as RecBole's models return
LossFunction = Callable[[Interaction], Losses]


@dataclass(frozen=True)
class Sampling:
    """How negatives are chosen and what is done with them.

    Attributes:
        sampler: chooses or makes negatives; None keeps the loader's draws.
        objective: what is minimised in place of the model's BPR term; None leaves the model's loss as it is.
        layers: how the model holds its layers; None where nothing reads them.
    """

    sampler: ItemSampler | VectorSampler | None = None
    objective: Objective | ListObjective | SoftmaxObjective | None = None
    layers: Layers | None = None


class TrainingStep:
    """Wraps a model's loss: the batch's negatives are chosen with the model as it is now, then the loss is taken.

    There is one way through a step. A sampler at item-id level writes ids into the batch. A sampler that makes vectors
    writes the ids of new items, which the model knows for the length of the step. Then the model's own loss is called,
    with its BPR term replaced if an objective says so.

    Args:
        model: the RecBole model.
        loader: the loader whose batches are coming, set to the epoch; it knows their layout.
        sampling: how negatives are chosen.
        loss_function: the model's loss, as RecBole's trainer would call it.
        past: the model after past epochs; None where the sampler asks for none.
    """

    def __init__(
        self,
        model: AbstractRecommender,
        loader: DTLNSTrainDataLoader,
        sampling: Sampling,
        loss_function: LossFunction,
        past: PastModels | None = None,
    ) -> None:
        self.model = model
        self.loader = loader
        at_work = None if loader.warming_up or sampling.sampler is None else sampling.sampler.in_epoch(loader.epoch)
        self.sampler = at_work if isinstance(at_work, (ItemSampler, VectorSampler)) else None
        self.loss_function = loss_function
        self._capability = capability(type(model))
        self._sequences = EncodedSequences(model) if kind_of(type(model)).ordered else None
        self._scorer = Scorer(model, loader, self._sequences)
        self._past = past
        self._weighed_term = label_term(model) if self._capability.labels else bpr_term(model)
        self._layers = sampling.layers
        self._reader = LayerReader(model, sampling.layers) if sampling.layers else None
        objective = sampling.objective
        chosen = self.sampler is not None and not self.sampler.draws_once
        self._ranking = RankingLoss(model, loader, objective, chosen) if isinstance(objective, Objective) else None

    def __call__(self, interaction: Interaction) -> Losses:
        """The loss of one batch, as the loader made it."""
        drawn, uniform, rows = (interaction[column] for column in (CANDIDATES, UNIFORM, ROW))
        for column in (CANDIDATES, UNIFORM, ROW):
            interaction.drop(column)
        with ExitStack() as step:
            step.enter_context(propagation_shared(self.model))
            if self._sequences is not None:
                step.enter_context(self._sequences.of_a_batch())
            tables: Tables = self._reader.read() if self._reader else ((), ())
            auxiliary = None
            if isinstance(self.sampler, VectorSampler):
                auxiliary = self._make_negatives(step, self.sampler, interaction, drawn, uniform, rows, tables)
            elif self.sampler is not None:
                self._choose_negatives(self.sampler, interaction, drawn, uniform)
            if self._ranking is None:
                loss = self._weighted_loss(interaction)
            else:
                loss = self._ranking(interaction, self.loss_function, lambda: self._vectors(interaction, tables))
            return loss if auxiliary is None else _with_another(loss, auxiliary)

    def _vectors(self, interaction: Interaction, tables: Tables) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of the rows [B, D], and of all items."""
        if self._layers is not None:
            users, items = (joined_layers(layers, self._layers.join) for layers in tables)
            return users[interaction[self.loader.uid_field]], items
        encoded = None if self._sequences is None else self._sequences.latest
        if encoded is None or self._capability.sequence_items is None:
            raise ContractError(f"{type(self.model).__name__} has no vectors whose products are its scores")
        return encoded, self._capability.sequence_items(self.model)

    def _choose_negatives(
        self, sampler: ItemSampler, interaction: Interaction, drawn: torch.Tensor, uniform: torch.Tensor
    ) -> None:
        loader, items = self.loader, interaction[self.loader.iid_field]
        if loader.dl_format == InputType.POINTWISE:
            place = loader.negative_rows(drawn)
            if place.start == place.stop:  # a batch without a row that is liked
                return
            rows = rows_of(interaction, place)
            positives = items[: place.start].repeat(loader.neg_sample_num)
            chosen = self._chosen(sampler, rows, positives, drawn[place], uniform[place])
            features = self._scorer.item_features(torch.cat([items[: place.start], chosen, items[place.stop :]]))
        else:
            features = self._scorer.item_features(self._chosen(sampler, interaction, items, drawn, uniform))
            features.add_prefix(loader.neg_prefix)
        interaction.update(features)

    def _chosen(
        self,
        sampler: ItemSampler,
        rows: Interaction,
        positives: torch.Tensor,
        drawn: torch.Tensor,
        uniform: torch.Tensor,
    ) -> torch.Tensor:
        """The negative of every row [B]."""
        candidates = sampler.propose(rows[self.loader.uid_field], drawn)
        column = sampler.select(self._choice(sampler, rows, positives, candidates, uniform))
        return candidates.gather(1, column[:, None]).squeeze(1)

    def _choice(
        self,
        sampler: ItemSampler,
        rows: Interaction,
        positives: torch.Tensor,
        candidates: torch.Tensor,
        uniform: torch.Tensor,
    ) -> Choice:
        users = rows[self.loader.uid_field]
        positive_scores = None
        if not sampler.reads_scores:
            scores = torch.zeros(candidates.shape, device=candidates.device)
        elif not sampler.reads_positive_scores:
            scores = self._scorer.scores(rows, candidates)
        else:
            both = self._scorer.scores(rows, torch.cat([positives[:, None], candidates], dim=1))
            scores, positive_scores = both[:, 1:], both[:, 0]
        past = self._past_scores(rows, positives)
        return Choice(users, positives, candidates, scores, positive_scores, uniform, self.loader.epoch, past)

    def _past_scores(self, rows: Interaction, positives: torch.Tensor) -> PastScores | None:
        if (models := self._past) is None:
            return None

        def past(items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores = models.scores(rows, torch.cat([positives[:, None], items], dim=1))
            return scores[:, :, 1:], scores[:, :, 0]

        return past

    def _make_negatives(
        self,
        step: ExitStack,
        sampler: VectorSampler,
        interaction: Interaction,
        drawn: torch.Tensor,
        uniform: torch.Tensor,
        rows: torch.Tensor,
        tables: Tables,
    ) -> torch.Tensor | None:
        """Let the model know the new items until the step ends, and write their ids into the batch.

        Returns:
            the sampler's own loss, if it has one.
        """
        if self._layers is None:
            raise ContractError(
                f"{type(sampler).__name__} makes vectors, and {type(self.model).__name__} takes none: it has no layers"
            )
        loader, join = self.loader, self._layers.join
        users, positives = interaction[loader.uid_field], interaction[loader.iid_field]
        candidates, past = sampler.propose(users, drawn), self._past_scores(interaction, positives)
        mixing = loader.negatives.row_mixing(rows.cpu().numpy(), len(tables[1])).to(users.device)
        made = sampler.negatives(
            LayerChoice(users, positives, candidates, *tables, join, mixing, uniform, loader.epoch, past)
        )
        step.enter_context(virtual_items(self.model, self._layers, joined_layers(made.layers, join), made.layers[0]))
        new_ids = torch.arange(len(users), device=users.device) + self._layers.item_table(self.model).num_embeddings
        interaction.update(Interaction({loader.neg_prefix + loader.iid_field: new_ids, CHOSEN: made.items}))
        if made.loss is None:
            return None
        return (made.loss * interaction[WEIGHT]).mean() if WEIGHT in interaction else made.loss.mean()

    def _weighted_loss(self, interaction: Interaction) -> Losses:
        """The model's own loss, with rows weighed.

        A row's weight belongs to its ranking loss: what a model adds for the whole batch (regularisation, contrastive
        terms) counts as without weights, as under every other `dtlns_loss`. Models without such a term give one number
        for all, so their rows are grouped by weight: a group of n of N rows contributes weight * n / N times its own
        loss (weight times, where the model sums over rows), and what is added is taken within each group.
        """
        if WEIGHT not in interaction:
            return self.loss_function(interaction)
        weights = interaction[WEIGHT]
        interaction.drop(WEIGHT)
        if self._weighed_term is not None:
            with rows_weighed(self._weighed_term, weights):
                return self.loss_function(interaction)
        sums = self._capability.sums_rows
        total: Losses = None
        for weight in weights.unique().tolist():
            rows = weights == weight
            group = rows_of(interaction, rows)
            share = weight if sums else weight * int(rows.sum()) / len(weights)
            total = _weighted_sum(total, self.loss_function(group), share)
        return total


def _with_another(losses: Losses, auxiliary: torch.Tensor) -> Losses:
    return (*losses, auxiliary) if isinstance(losses, tuple) else losses + auxiliary


def _weighted_sum(total: Losses, losses: Losses, share: float) -> Losses:
    if isinstance(losses, tuple):
        parts = [share * loss for loss in losses]
        return tuple(parts) if total is None else tuple(a + b for a, b in zip(total, parts, strict=True))
    return share * losses if total is None else total + share * losses
