"""The loaders and the model's data of one run; the only place where relabelled pairs meet RecBole's objects."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset import Dataset
from recbole.data.utils import create_samplers, get_dataloader
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_dtlns.bridge.data.dataloader import DTLNSTrainDataLoader, EpochDataLoader
from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.bridge.data.knowledge_loader import KnowledgeDataLoader
from recbole_dtlns.bridge.data.pairs import observed_pairs, target_pairs, with_extra_rows
from recbole_dtlns.bridge.data.sampler import DTLNSSampler
from recbole_dtlns.bridge.data.user_loader import UserDataLoader
from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.bridge.training.sampling import pool_maker
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Forbidden, JudgedPairs, Observed, PairSet, PseudoPositives
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.losses.contract import ListLoss
from recbole_dtlns.losses.user_lists import UserLists
from recbole_dtlns.settings.settings import DTLNSSettings

logger = logging.getLogger("recbole_dtlns")

_SCORES_AT_ONCE = 2**21


@dataclass(frozen=True)
class RunData:
    """What training and evaluation read.

    Attributes:
        train_loader, valid_loader, test_loader: RecBole loaders; evaluation masks observed pairs only
            (unless the protocol is `authors`).
        model_dataset: what the model's constructor sees.
    """

    train_loader: Any
    valid_loader: Any
    test_loader: Any
    model_dataset: Dataset


@quiet_recbole()
def plain_run_data(config: Any, dataset: Dataset, parts: list[Dataset]) -> RunData:
    """RecBole's own samplers and loaders, in the order in which RecBole makes them."""
    samplers = create_samplers(config, dataset, parts)
    train_loader = _recboles_loader(config, dataset, parts[0], samplers[0])
    return RunData(train_loader, *_evaluation_loaders(config, parts, samplers), parts[0])


@quiet_recbole()
def dtlns_run_data(
    config: Any,
    dataset: Dataset,
    parts: list[Dataset],
    canonical: TrainInteractions,
    guidance: Guidance | None,
) -> RunData:
    """Loaders with candidates, pseudo-positive rows and forbidden pairs, as the settings ask.

    Args:
        config: the run's configuration.
        dataset: the whole data set.
        parts: its clean train, validation and test parts.
        canonical: the train pairs by token.
        guidance: what the method tells training; None where nothing asks for it.
    """
    train, settings = parts[0], config.settings
    nothing = np.array([], dtype=np.int64)
    positives, forbidden = PseudoPositives.of(nothing, nothing), Forbidden.of(nothing, nothing)
    if guidance is not None:
        positives = to_recbole_ids(guidance.positives, canonical, train)
        forbidden = to_recbole_ids(guidance.forbidden, canonical, train)
    if settings.leaking:
        positives, forbidden = (purged_of_evaluation(pairs, parts[1:]) for pairs in (positives, forbidden))
    # The evaluation samplers come first and from the clean parts: nothing relabelled exists for them.
    samplers = create_samplers(config, dataset, _mask_as_authors(parts, forbidden) if settings.leaking else parts)
    rows: EpochDataLoader | None = None
    if (list_loss := settings.list_loss) is not None:
        rows = _user_loader(config, train, canonical, guidance, list_loss)
    elif config.by_softmax:
        nothing_forbidden = Forbidden.of(nothing, nothing)
        sampler = DTLNSSampler(train, nothing_forbidden, config["seed"])
        rows = EpochDataLoader(config, train, sampler, shuffle=config["shuffle"])
    elif settings.makes_rows:
        blocked = forbidden if settings.relabel_exclude else Forbidden.of(nothing, nothing)
        make_pool = pool_maker(settings, train, canonical, guidance)
        rows = DTLNSTrainDataLoader(
            config,
            train,
            DTLNSSampler(train, leave_one_item(blocked, train), config["seed"], make_pool),
            positives if settings.relabel_add and not config.adds_targets else PseudoPositives.of(nothing, nothing),
            settings.drawn(canonical.n_items),
            settings.warmup_epochs,
            shuffle=config["shuffle"],
        )
    if rows is None:
        train_loader = _recboles_loader(config, dataset, train, samplers[0])
    else:
        train_loader = KnowledgeDataLoader(config, dataset, rows) if config.kind.reads_facts else rows
    model_dataset = train.copy(with_extra_rows(train, positives)) if settings.relabel_graph else train
    return RunData(train_loader, *_evaluation_loaders(config, parts, samplers), model_dataset)


def _recboles_loader(config: Any, whole: Dataset, train: Dataset, sampler: Any) -> Any:
    if config.kind.reads_facts:  # RecBole shuffles their rows whatever the key shuffle says
        return KnowledgeDataLoader(config, whole, TrainDataLoader(config, train, sampler, shuffle=True))
    return get_dataloader(config, "train")(config, train, sampler, shuffle=config["shuffle"])


def _user_loader(
    config: Any, train: Dataset, canonical: TrainInteractions, guidance: Guidance | None, loss: ListLoss
) -> UserDataLoader:
    """Batches of users with their lists; these come from the train split and the guidance alone."""
    nothing = np.array([], dtype=np.int64)
    judged = JudgedPairs.of(nothing, nothing, np.array([], np.float32))
    if guidance is not None:
        judged = to_recbole_ids(guidance.judged, canonical, train)
    lists = UserLists(observed_pairs(train), judged, loss.config.targets, train.user_num)
    if len(lists):
        logger.info(
            "lists: %d targets for %d of %d users; no sampler chooses negatives, and no pair is added as a row",
            len(lists),
            lists.users_with_targets,
            len(lists.users),
        )
    else:
        logger.warning(
            "dtlns_loss: %s has no judged pair to learn from (dtlns_method: %s): the observed items alone are learnt",
            config.settings.loss,
            config.settings.method,
        )
    make_pool = pool_maker(config.settings, train, canonical, guidance) if loss.config.items else None
    sampler = DTLNSSampler(train, Forbidden.of(nothing, nothing), config["seed"], make_pool)
    users = loss.config.users_at_once(len(lists.users))
    return UserDataLoader(config, train, sampler, lists, users, shuffle=config["shuffle"])


def check_negative_sampling(config: Any, settings: DTLNSSettings) -> None:
    """Refuse RecBole sampling options that contradict DTL-NS, and a pool that is not there.

    Raises:
        ConfigError: the message names the option and what to do.
    """
    if not settings.active:
        return
    sampling = config["train_neg_sample_args"]
    if config["repeatable"] and not config.kind.ordered:
        raise ConfigError(
            "repeatable: True lets users repeat items, so nothing is a false negative: use dtlns_preset: off"
        )
    if not settings.makes_rows or config.by_softmax:
        return
    if sampling["distribution"] == "none":
        raise ConfigError(
            "train_neg_sample_args draws no negatives, so nothing can be chosen or kept from being drawn: leave it "
            "out, or use dtlns_preset: off"
        )
    if sampling["distribution"] != "uniform":
        raise ConfigError(
            f"train_neg_sample_args.distribution is '{sampling['distribution']}', and DTL-NS draws its candidates from "
            "pools of its own: set it to uniform and choose dtlns_pool (popularity, for example), or use "
            "dtlns_preset: off"
        )
    pool_file = settings.flat["pool_file"]
    if pool_file is not None and not Path(pool_file).is_file():
        raise ConfigError(f"dtlns_pool_file: {pool_file} does not exist (looked in {Path.cwd()})")
    if settings.shares_negatives and sampling["sample_num"] != 1:
        raise ConfigError(
            f"dtlns_loss: {settings.loss} has negatives for all rows of a batch (dtlns_loss_shared of them for "
            "sampled_softmax): set train_neg_sample_args.sample_num to 1"
        )
    if sampling["dynamic"]:
        raise ConfigError(
            "train_neg_sample_args.dynamic: True is RecBole's own hard sampling: set it to False and use "
            "dtlns_sampler: dns (the same rule), or use dtlns_preset: off"
        )


def check_users_have_negatives(parts: list[Dataset]) -> None:
    """Raise `DataError` where some user's observed items, over all splits, are the whole catalogue."""
    observed = PairSet.of(*(np.concatenate(columns) for columns in zip(*map(_columns, parts), strict=True)))
    counts = np.bincount(observed.users, minlength=parts[0].user_num)
    full = np.flatnonzero(counts >= parts[0].item_num - 1)
    if len(full):
        token = parts[0].id2token(parts[0].uid_field, int(full[0]))
        raise DataError(
            f"{len(full)} users (the first: '{token}') have seen all {parts[0].item_num - 1} items, so nothing is left "
            "to draw as a negative; filter them, for example with user_inter_num_interval: '[0,"
            f"{parts[0].item_num - 2}]'"
        )


def check_users_have_histories(config: Any, parts: list[Dataset]) -> None:
    """Raise `DataError` where a model makes users of their train items, and some that are asked about have none."""
    if not capability(config.model_class).needs_history:
        return
    asked = np.concatenate([target_pairs(part).users for part in parts[1:]])
    without = np.setdiff1d(asked, observed_pairs(parts[0]).users)
    if len(without):
        token = parts[0].id2token(parts[0].uid_field, int(without[0]))
        raise DataError(
            f"{len(without)} users of validation or test (the first: '{token}') have no train pair, of which "
            f"{config['model']} makes its users: leave them out, split so that every user has some, or choose another "
            "model"
        )


def _columns(part: Dataset) -> tuple[np.ndarray, np.ndarray]:
    pairs: Observed = observed_pairs(part)
    return pairs.users, pairs.items


def leave_one_item(forbidden: Forbidden, train: Dataset) -> Forbidden:
    """Drop the forbidden pairs of users who would have no item left to draw; they are counted in the log."""
    observed = observed_pairs(train)
    counts = np.bincount(observed.users, minlength=train.user_num)
    counts += np.bincount(forbidden.users, minlength=train.user_num)
    exhausted = counts >= train.item_num - 1
    if not exhausted.any():
        return forbidden
    logger.warning("%d users would have no negative left; their false negatives stay drawable", int(exhausted.sum()))
    kept = ~exhausted[forbidden.users]
    return forbidden.where(kept)


def _evaluation_loaders(config: Any, parts: list[Dataset], samplers: Any) -> tuple[Any, Any]:
    with _ranking_many_users(config):
        valid = get_dataloader(config, "valid")(config, parts[1], samplers[1], shuffle=False)
        test = get_dataloader(config, "test")(config, parts[2], samplers[2], shuffle=False)
    return valid, test


@contextmanager
def _ranking_many_users(config: Any) -> Iterator[None]:
    """Let loaders that rank all items take as many users at once as 8 MiB of scores allow.

    RecBole divides eval_batch_size (4096 by default) by the number of items, which gives one user at a time. The
    results do not depend on it. Models that score pair by pair, or take many numbers for a score, keep what the user
    has set.
    """
    given = config["eval_batch_size"]
    at_once = config.model_class.full_sort_predict is not AbstractRecommender.full_sort_predict
    light = at_once and not capability(config.model_class).heavy_scores
    if config.settings.fast and light and not config.kind.ordered:  # there it is a number of rows
        config["eval_batch_size"] = max(given, _SCORES_AT_ONCE)
    try:
        yield
    finally:
        config["eval_batch_size"] = given


def purged_of_evaluation(pairs: Any, parts: list[Dataset]) -> Any:
    """Protocol `authors`: drop the pairs that validation or test hold, as the published files have it. This leaks."""
    width = parts[0].item_num
    known = np.concatenate([observed.users * width + observed.items for observed in map(target_pairs, parts)])
    kept = ~np.isin(pairs.users * width + pairs.items, known)
    return pairs.where(kept)


def _mask_as_authors(parts: list[Dataset], masked: PairSet) -> list[Dataset]:
    """Protocol `authors`: parts from which RecBole derives a mask that holds the relabelled pairs. This leaks."""
    return [parts[0].copy(with_extra_rows(parts[0], masked)), *parts[1:]]
