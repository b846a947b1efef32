"""Real runs on the block data, each a tenth of a second, with the objects that the run made for a test to look at."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from block_data import block_pairs, split_pairs, write_splits
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_dtlns.bridge import runner
from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.bridge.data.run_data import RunData
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.preparation import Preparation

# Loaders with workers fork; Python 3.12 warns of that wherever a process has threads.
FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
TINY = "tiny"
PLAIN = {"dtlns_preset": "off"}
RELABEL_ALL = {
    "dtlns_relabel_exclude": True,
    "dtlns_relabel_add": True,
    "dtlns_relabel_graph": True,
    "dtlns_relabel_top": 0,
}
QUICK = {
    "epochs": 1,
    "train_batch_size": 256,
    "eval_batch_size": 4096,
    "embedding_size": 16,
    "valid_metric": "NDCG@10",
    "show_progress": False,
    "seed": 2020,
}


@dataclass
class Run:
    """What one real run returned and made."""

    result: dict[str, Any]
    config: DTLNSConfig
    data: RunData
    trainer: Any
    preparation: Preparation | None

    @property
    def folder(self) -> Path:
        return Path(self.result["run_folder"])

    @property
    def train(self) -> Any:
        return self.data.train_loader._dataset


def all_or_sample(names: Iterable[str], sample: Container[str]) -> list[Any]:
    """The sample in every run, the others behind the mark `matrix`."""
    return [name if name in sample else pytest.param(name, marks=pytest.mark.matrix) for name in names]


def write_tiny(folder: str = "data", parts: Any = None, **shape: int) -> dict[str, Any]:
    """Write the block data, split in advance; returns the config keys that load it."""
    return write_splits(Path(folder), TINY, *(parts or split_pairs(*block_pairs(**shape))))


def train(model: str | type, keys: dict[str, Any], *, saved: bool = True, dataset: str = TINY, **settings: Any) -> Run:
    """`run_recbole_dtlns`, watched: nothing of it is replaced, only its parts are kept."""
    kept: dict[str, Any] = {"preparation": None}

    def keep(name: str, function: Any) -> Any:
        def watched(*arguments: Any, **named: Any) -> Any:
            kept[name] = function(*arguments, **named)
            return kept[name]

        return watched

    watched = {"DTLNSConfig": "config", "guide": "preparation", "build_trainer": "trainer"}
    watched |= {"dtlns_run_data": "data", "plain_run_data": "data"}
    with mock.patch.multiple(
        runner, **{function: keep(name, getattr(runner, function)) for function, name in watched.items()}
    ):
        result = runner.run_recbole_dtlns(model, dataset, config_dict={**QUICK, **keys, **settings}, saved=saved)
    return Run(result, **kept)


def in_two_parts(
    model: str, keys: dict[str, Any], first: int, all_of_them: int, dataset: str = TINY, epochs: str = "epochs"
) -> tuple[Run, Run, Run]:
    """A run of the first epochs, one that goes on from it to the last, and one of all; the latter two test alike."""
    begun = train(model, {**keys, epochs: first}, dataset=dataset)
    resumed = train(model, {**keys, epochs: all_of_them}, dataset=dataset, resume_from=str(begun.folder))
    whole = train(model, {**keys, epochs: all_of_them}, dataset=dataset)
    assert resumed.result["test_result"] == whole.result["test_result"]
    return begun, resumed, whole


def plain_recbole_loaders(model: str, dataset: str, keys: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Train, validation and test loader as RecBole itself makes them; nothing of this package takes part."""
    with mock.patch.object(sys, "argv", ["run"]), warnings.catch_warnings(action="ignore"):
        config = Config(model, dataset, config_dict={**QUICK, **keys})
        init_seed(config["seed"], config["reproducibility"])
        return data_preparation(config, create_dataset(config))


def relabelled(run: Run) -> tuple[PairSet, PairSet]:
    """Pseudo-positives and forbidden pairs of a run, in RecBole's ids."""
    assert run.preparation is not None
    found = run.preparation.relabelling
    pairs = (found.positives, found.forbidden)
    return tuple(to_recbole_ids(part, run.preparation.train, run.train) for part in pairs)


def as_set(pairs: PairSet) -> set[tuple[int, int]]:
    return set(zip(pairs.users.tolist(), pairs.items.tolist(), strict=True))


def observed(dataset: Any) -> set[tuple[int, int]]:
    """The (user, item) pairs of a RecBole data set."""
    features = dataset.inter_feat
    return set(zip(features[dataset.uid_field].tolist(), features[dataset.iid_field].tolist(), strict=True))


def used_pairs(sampler: Any) -> set[tuple[int, int]]:
    """All that a sampler holds as used: the only source of RecBole's evaluation mask."""
    return {(user, int(item)) for user, items in enumerate(sampler.used_ids) for item in items}


def per_user(lists: np.ndarray) -> dict[int, list[int]]:
    """A loader's `uid2history_item` or `uid2positive_item`: the items of every user, in order of id."""
    return {user: sorted(items.tolist()) for user, items in enumerate(lists) if items is not None}


def same_tensors(first: Any, second: Any) -> bool:
    """Whether two nested structures of tensors and plain data are equal to the last bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same_tensors(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same_tensors, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second
