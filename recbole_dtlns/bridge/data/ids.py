"""Canonical ids, in which everything before training speaks, and the ids of RecBole."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from recbole.data.dataset import Dataset

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Forbidden, JudgedPairs, Observed, PairSet, PseudoPositives

Pairs = TypeVar("Pairs", PairSet, Observed, PseudoPositives, Forbidden, JudgedPairs)


def to_recbole_ids(pairs: Pairs, train: TrainInteractions, dataset: Dataset) -> Pairs:
    """The same pairs in the ids of a RecBole data set."""
    users = dataset.token2id(dataset.uid_field, train.user_tokens)
    items = dataset.token2id(dataset.iid_field, train.item_tokens)
    return pairs.mapped(users, items)


def user_positions(train: TrainInteractions, dataset: Dataset) -> np.ndarray:
    """Canonical id of every user id of a RecBole data set, int64 [n_users]; -1 where it is not a train user."""
    positions = np.full(dataset.user_num, -1, dtype=np.int64)
    positions[dataset.token2id(dataset.uid_field, train.user_tokens)] = np.arange(train.n_users)
    return positions


def tree_positions(train: TrainInteractions, dataset: Dataset) -> np.ndarray:
    """Canonical id of every item id of a RecBole data set, int64 [n_items]; -1 where it is not a train item."""
    positions = np.full(dataset.item_num, -1, dtype=np.int64)
    positions[dataset.token2id(dataset.iid_field, train.item_tokens)] = np.arange(train.n_items)
    return positions
