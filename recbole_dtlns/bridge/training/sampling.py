"""From the settings to what chooses negatives: the pool of candidates, the sampler, and what is minimised."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset

from recbole_dtlns.bridge.data.ids import to_recbole_ids, tree_positions, user_positions
from recbole_dtlns.bridge.data.knowledge_loader import row_loader
from recbole_dtlns.bridge.data.pairs import observed_pairs
from recbole_dtlns.bridge.data.sampler import DTLNSSampler, MakePool
from recbole_dtlns.bridge.data.user_loader import UserDataLoader
from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.bridge.models.list_loss import ListObjective
from recbole_dtlns.bridge.models.ranking_loss import Objective
from recbole_dtlns.bridge.models.softmax_loss import SoftmaxObjective
from recbole_dtlns.bridge.training.training_step import Sampling
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Forbidden, PairSet, PseudoPositives
from recbole_dtlns.data.pair_table import PairTable
from recbole_dtlns.errors import ContractError
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.guidance.generated import GeneratedNegatives
from recbole_dtlns.losses.contract import RowLoss, SharedLoss
from recbole_dtlns.losses.further_targets import ItemsOfUsers
from recbole_dtlns.losses.negative_weights import NegativeWeights
from recbole_dtlns.losses.shared_negatives import SharedNegatives
from recbole_dtlns.losses.table import LOSSES
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.pools.contract import CandidatePool, PoolContext
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.samplers import make_sampler
from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.negatives.vectors.contract import VectorSampler
from recbole_dtlns.negatives.vectors.semantic import SemanticMixing
from recbole_dtlns.settings.groups import MODEL_LOSS
from recbole_dtlns.settings.settings import DTLNSSettings


def pool_maker(
    settings: DTLNSSettings, train: Dataset, canonical: TrainInteractions, guidance: Guidance | None
) -> MakePool | None:
    """Makes the pool that the settings name from the pairs that may not be drawn; None for the uniform one.

    Args:
        settings: the run's settings.
        train: the clean train split.
        canonical: the same pairs by token, to read files with.
        guidance: holds the trees, if there are any.
    """
    if settings.pool_used == "uniform":
        return None

    def read_pairs(file: str) -> PairSet:
        table = PairTable.read(file, canonical)
        return to_recbole_ids(PairSet.of(table.users, table.items), canonical, train)

    def make(blocked: PairSet) -> CandidatePool:
        pool = POOLS.make(settings.pool_used, settings.flat)
        counts = np.bincount(observed_pairs(train).items, minlength=train.item_num)
        views = {} if guidance is None else guidance.views
        places = None if guidance is None else tree_positions(guidance.train, train)
        pool.begin(PoolContext(blocked, train.user_num, train.item_num, counts, views, places, read_pairs))
        return pool

    return make


class GeneratedLookup:
    """Generated negatives by RecBole's ids, on the model's device; they themselves stay where they are.

    Args:
        generated: in canonical ids.
        train: the clean train split.
        device: of the model.
    """

    def __init__(self, generated: GeneratedNegatives, train: Dataset, device: torch.device | str) -> None:
        self._generated, self._device = generated, device
        self._users, self._items = user_positions(generated.train, train), tree_positions(generated.train, train)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._generated.dimension

    def __call__(
        self, users: torch.Tensor, positives: torch.Tensor, uniform: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `GeneratedVectors`."""
        rows = (self._users[users.cpu().numpy()], self._items[positives.cpu().numpy()])
        vectors, known = self._generated.of(*rows, uniform.cpu().numpy())
        return torch.as_tensor(vectors, device=self._device), torch.as_tensor(known, device=self._device)


def make_sampling(config: Any, train: Dataset, train_loader: Any, guidance: Guidance | None) -> Sampling:
    """How the run chooses negatives.

    Args:
        config: the run's configuration.
        train: the clean train split.
        train_loader: the run's training loader; ours, where the settings choose negatives.
        guidance: what the method tells training, if it was asked.
    """
    settings: DTLNSSettings = config.settings
    train_loader = row_loader(train_loader)
    if settings.takes_lists:
        return Sampling(objective=_list_objective(config, train, train_loader))
    if config.by_softmax:
        return Sampling(objective=_softmax_objective(settings, train, guidance)) if settings.relabels else Sampling()
    if not settings.selects:
        return Sampling()
    views, vectors, generated = {}, None, None
    if guidance is not None:
        positions, device = tree_positions(guidance.train, train), config["device"]
        views = {name: TreeView(tree, positions, device) for name, tree in guidance.views.items()}
        if guidance.vectors is not None:
            known = np.where(positions[:, None] < 0, 0, guidance.vectors[positions])
            vectors = torch.as_tensor(known, dtype=torch.float32, device=device)
        if guidance.generated is not None:
            generated = GeneratedLookup(guidance.generated, train, device)
    layers = capability(config.model_class).layers
    sampler = make_sampler(settings.sampler, settings.flat, settings.mixing)
    if generated is not None:
        sampler = SemanticMixing(sampler, SemanticMixing.Config.from_flat(settings.flat))
    sampler.begin(
        SamplerContext(
            train.user_num, train.item_num, config["device"], views, config["embedding_size"], vectors, generated
        )
    )
    reads_layers = isinstance(sampler, VectorSampler) or (settings.shares_negatives and layers is not None)
    return Sampling(
        sampler,
        _objective(config, train, train_loader.negatives, guidance),
        layers if reads_layers else None,
    )


def _softmax_objective(settings: DTLNSSettings, train: Dataset, guidance: Guidance | None) -> SoftmaxObjective:
    added, forbidden = _relabelled(settings, train, guidance)
    return SoftmaxObjective(ItemsOfUsers(added, train.user_num), ItemsOfUsers(forbidden, train.user_num))


def _relabelled(
    settings: DTLNSSettings, train: Dataset, guidance: Guidance | None
) -> tuple[PseudoPositives, Forbidden]:
    """The pairs that become targets, and those that are no negatives, in RecBole's ids."""
    added, forbidden = PseudoPositives.none(), Forbidden.none()
    if guidance is not None and settings.relabel_add:
        added = to_recbole_ids(guidance.positives, guidance.train, train)
    if guidance is not None and settings.relabel_exclude:
        forbidden = to_recbole_ids(guidance.forbidden, guidance.train, train)
    return added, forbidden


def _list_objective(config: Any, train: Dataset, loader: UserDataLoader) -> ListObjective:
    settings: DTLNSSettings = config.settings
    loss, layers = settings.list_loss, capability(config.model_class).layers
    if loss is None or layers is None:
        raise ContractError(f"the loss '{settings.loss}' takes lists, and is no subclass of ListLoss")
    if not loss.config.items:
        return ListObjective(loss, layers)
    return ListObjective(loss, layers, _shared(settings, loader.negatives, loader.lists.pairs, train))


def _shared(settings: DTLNSSettings, sampler: DTLNSSampler, blocked: PairSet, train: Dataset) -> SharedNegatives:
    if sampler.pool.probability is None:
        raise ContractError(f"the pool '{settings.pool_used}' is shareable, and its begin has set no probability")
    return SharedNegatives(blocked, sampler.pool.probability, train.user_num)


def _objective(config: Any, train: Dataset, sampler: DTLNSSampler, guidance: Guidance | None) -> Objective | None:
    settings: DTLNSSettings = config.settings
    name = settings.loss_for(capability(config.model_class).bpr_term)
    if name == MODEL_LOSS:
        return None
    weights = None
    if settings.loss_debiased:
        if guidance is None:
            raise ContractError("dtlns_loss_debiased weighs by a judge's verdicts, and nothing was prepared")
        judged = to_recbole_ids(guidance.judged, guidance.train, train)
        weights = NegativeWeights(judged, train.item_num, config["device"])
    loss = LOSSES.make(name, settings.flat)
    if isinstance(loss, SharedLoss):
        loss.begin(train.item_num - 1)
        if not config.adds_targets:
            return Objective(loss, _shared(settings, sampler, sampler.blocked, train), negative_weights=weights)
        # RecBole ranks what stands in a sequence with all other items, so it is a negative; the row's target is none.
        added, forbidden = _relabelled(settings, train, guidance)
        shared = _shared(settings, sampler, added.union(forbidden), train)
        return Objective(loss, shared, weights, ItemsOfUsers(added, train.user_num) if len(added) else None)
    if isinstance(loss, RowLoss):
        return Objective(loss, negative_weights=weights)
    raise ContractError(f"the loss '{name}' is no subclass of RowLoss: {loss!r}")
