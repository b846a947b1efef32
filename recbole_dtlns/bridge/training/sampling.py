"""From the settings to what chooses negatives: the pool of candidates, the sampler, and what is minimised."""

from __future__ import annotations

from typing import Any

import numpy as np
from recbole.data.dataset import Dataset

from recbole_dtlns.bridge.data.dataset import observed_pairs
from recbole_dtlns.bridge.data.ids import to_recbole_ids, tree_positions
from recbole_dtlns.bridge.data.sampler import DTLNSSampler, MakePool
from recbole_dtlns.bridge.models.capabilities import capability
from recbole_dtlns.bridge.models.ranking_loss import Objective
from recbole_dtlns.bridge.training.training_step import Sampling
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.data.pair_table import PairTable
from recbole_dtlns.errors import UnsupportedModelError
from recbole_dtlns.losses.negative_weights import NegativeWeights
from recbole_dtlns.losses.ranking import row_loss
from recbole_dtlns.losses.shared_negatives import SharedNegatives
from recbole_dtlns.negatives.choosing.selection import SamplerContext
from recbole_dtlns.negatives.pools.contract import PoolContext
from recbole_dtlns.negatives.pools.popularity import PopularityPool
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.samplers import make_sampler
from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.negatives.vectors.layers import LayerSampler
from recbole_dtlns.preparation import Preparation
from recbole_dtlns.settings.settings import DTLNSSettings


def pool_maker(
    settings: DTLNSSettings, train: Dataset, canonical: TrainInteractions, preparation: Preparation | None
) -> MakePool | None:
    """Makes the pool that the settings name from the pairs that may not be drawn; None for the uniform one.

    Args:
        settings: the run's settings.
        train: the clean train split.
        canonical: the same pairs by token, to read files with.
        preparation: holds the trees, if there are any.
    """
    if settings.pool_used == "uniform":
        return None
    listed = None
    if settings.pool_file:
        table = PairTable.read(settings.pool_file, canonical)
        listed = to_recbole_ids(PairSet.of(table.users, table.items), canonical, train)

    def make(blocked: PairSet) -> Any:
        context = PoolContext(
            settings,
            blocked,
            train.user_num,
            train.item_num,
            np.bincount(observed_pairs(train).items, minlength=train.item_num),
            listed=listed,
        )
        if preparation is not None:
            trees = {"structure": preparation.structure, "semantic": preparation.semantic}
            positions = tree_positions(preparation.train, train)
            context = PoolContext(**{**vars(context), **trees, "tree_item": positions})
        return POOLS.get(settings.pool_used)(context)

    return make


def make_sampling(config: Any, train: Dataset, train_loader: Any, preparation: Preparation | None) -> Sampling:
    """How the run chooses negatives.

    Args:
        config: the run's configuration.
        train: the clean train split.
        train_loader: the run's training loader; ours, where the settings choose negatives.
        preparation: what the stages before training made, if they ran.
    """
    settings: DTLNSSettings = config.settings
    if not settings.selects:
        return Sampling()
    views = {}
    if preparation is not None:
        positions = tree_positions(preparation.train, train)
        trees = {"structure": preparation.structure, "semantic": preparation.semantic}
        views = {name: TreeView(tree, positions, config["device"]) for name, tree in trees.items()}
    context = SamplerContext(
        settings, train.user_num, train.item_num, config["device"], dimension=config["embedding_size"], **views
    )
    sampler, layers = make_sampler(settings.sampler, context), capability(config.model_class).layers
    if isinstance(sampler, LayerSampler) and layers is None:  # somebody else's: built-in ones are refused earlier
        raise UnsupportedModelError(
            f"dtlns_sampler: {settings.sampler} makes vectors, and {config.model_class.__name__} takes none"
        )
    reads_layers = isinstance(sampler, LayerSampler) or settings.loss == "sampled_softmax"
    return Sampling(
        sampler,
        _objective(config, train, train_loader.negatives, preparation),
        layers if reads_layers else None,
    )


def _objective(config: Any, train: Dataset, sampler: DTLNSSampler, preparation: Preparation | None) -> Objective | None:
    settings: DTLNSSettings = config.settings
    loss = settings.loss_for(capability(config.model_class).bpr_term)
    if loss == "model":
        return None
    weights = None
    if settings.loss_debiased:
        assert preparation is not None, "a debiased loss needs a judge"
        judged = to_recbole_ids(preparation.judged, preparation.train, train)
        weights = NegativeWeights(judged, train.item_num, config["device"])
    if loss != "sampled_softmax":
        return Objective(row_loss(loss, settings.loss_temperature), negative_weights=weights)
    if isinstance(sampler.pool, PopularityPool):
        probability = sampler.pool.probability
    else:
        probability = np.full(train.item_num, 1 / (train.item_num - 1))
        probability[0] = 0
    shared = SharedNegatives(sampler.blocked, probability, train.user_num)
    return Objective(
        shared=shared,
        draws=settings.loss_shared,
        temperature=settings.loss_temperature,
        negative_weights=weights,
    )
