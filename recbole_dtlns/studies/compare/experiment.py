"""What an experiment is made of: arms, splits, and the runs that these and the seeds make."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from recbole_dtlns.bridge.config import OF_ONE_RUN, DTLNSConfig
from recbole_dtlns.bridge.teacher import teacher_recipe
from recbole_dtlns.bridge.training import trainer
from recbole_dtlns.components import PREFIX
from recbole_dtlns.llm.chat_model import model_revision
from recbole_dtlns.methods.table import METHODS
from recbole_dtlns.settings.renamed import OLD_NAMES
from recbole_dtlns.studies.compare.cell_result import Part
from recbole_dtlns.studies.compare.comparison import Choice, GroupKind, Varied
from recbole_dtlns.version import __version__

# Where files lie, what is printed and kept, and how a server is reached: none of it changes a result.
_INCIDENTAL = frozenset(
    (
        *("data_path", "checkpoint_dir", f"{PREFIX}cache_dir", f"{PREFIX}refuse_damaged", "allow_unknown_keys"),
        f"{PREFIX}prepare_on",
        *("show_progress", "state", "log_wandb", "wandb_project", "loss_decimal_place", "use_gpu", "gpu_id"),
        *("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path"),
        *(f"{PREFIX}judge_{key}" for key in ("api_key_env", "concurrency", "timeout_seconds", "retries")),
        *(f"{PREFIX}judge_ray_{key}" for key in ("address", "workers", "resources", "urls")),
    )
)
_MISSING = object()


@dataclass(frozen=True)
class Arm:
    """One row of the comparison.

    Attributes:
        name: as the tables show it.
        model: RecBole's name, or `package.module:Class`.
        keys: settings on top of those that all arms share.
        reference: a closed-form model that stands beside the arms and is not tuned.
        swept: the keys that the experiment varies along this arm, with their values.
        grown_from: share of the train pairs, the earliest, that an earlier run learnt from, with which this one begins.
        among: settings, each on top of the keys, among which validation chooses; empty where nothing is left to it.
        tried: whether this is a variant of an arm, for validation to choose among.
        beside: of a reference, the variants that learn from it, where nothing else does: it runs if one is chosen.
    """

    name: str
    model: str
    keys: dict[str, Any]
    reference: bool = False
    swept: dict[str, Any] | None = None
    grown_from: float | None = None
    among: tuple[dict[str, Any], ...] = ()
    tried: bool = False
    beside: tuple[str, ...] = ()

    @property
    def variants(self) -> list[Arm]:
        """The arm with each of the settings that validation chooses among; itself where nothing is left to it."""
        if not self.among:
            return [self]
        return [
            replace(self, name=at_point(self.name, one), keys={**self.keys, **one}, among=(), tried=True)
            for one in self.among
        ]


def variants_of(arms: Iterable[Arm]) -> list[Arm]:
    """The variants of several arms."""
    return [variant for arm in arms for variant in arm.variants]


def at_point(title: str, point: Mapping[str, Any]) -> str:
    """An arm's name where some of its keys have these values."""
    place = ", ".join(f"{key.removeprefix(PREFIX)}={value}" for key, value in point.items())
    return f"{title} ({place})" if point else title


@dataclass(frozen=True, eq=False)
class Cell:
    """One run of an experiment: an arm on a split with a seed.

    Attributes:
        arm, split, seed: which.
        model, dataset, keys: what `run_recbole_dtlns` would be given.
        authors_mask: keys of the judge whose purged positives mask a second evaluation, which leaks; None for none.
        reference, swept: as for the arm.
        for_all_seeds: whether another seed would give the same, so that this one stands for all.
        measured: the part of the data that is ranked at the end; of `validation`, test is not looked at.
        refit: epochs of a refit on train and validation; None for a run on train alone.
        grown_from: as for the arm.
    """

    arm: str
    split: str
    seed: int
    model: str
    dataset: str
    keys: dict[str, Any]
    authors_mask: dict[str, Any] | None
    reference: bool
    swept: dict[str, Any] | None
    for_all_seeds: bool
    measured: Part = "test"
    refit: int | None = None
    grown_from: float | None = None

    @cached_property
    def digest(self) -> str:
        """Of all that the result depends on: every setting as it resolves, the files named there, data, and code."""
        config = self.config()
        data = Path(self.keys["data_path"], self.dataset).glob(f"{self.dataset}*")
        content = {
            "model": self.model,
            "measured": self.measured,
            "settings": _resolved(config),
            "files": {file.name: _by_content(str(file)) for file in sorted(data) if file.is_file()},
            "version": [__version__, trainer.VERSION],
            "stages": _stage_versions(config) if config.prepares else None,
            "authors_mask": self._digested_mask(),
            **({} if self.grown_from is None else {"grown_from": self.grown_from}),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def _digested_mask(self) -> dict[str, Any] | None:
        config = self.mask_config()
        return None if config is None else {**_resolved(config), "stages": _stage_versions(config)}

    @property
    def folder_name(self) -> str:
        arm, split = (re.sub(r"[^\w=+-]+", "-", name).strip("-")[:60] for name in (self.arm, self.split))
        return f"{arm}_{split}_{self.seed}_{self.digest}"

    def config(self) -> DTLNSConfig:
        """The configuration of the run, for checking it."""
        return DTLNSConfig(self.model, self.dataset, config_dict=self.run_keys)

    @property
    def run_keys(self) -> dict[str, Any]:
        """The keys of the run."""
        return self.keys if self.refit is None else {**self.keys, "refit": self.refit}

    def mask_config(self) -> DTLNSConfig | None:
        """The configuration of the judge whose positives make the authors' mask."""
        if self.authors_mask is None:
            return None
        return DTLNSConfig(self.model, self.dataset, config_dict=self.authors_mask)

    @property
    def title(self) -> str:
        what = ", refit" if self.refit is not None else "" if self.measured == "test" else ", validation alone"
        return f"{self.arm}, {self.split}, seed {self.seed}{what}"


def _stage_versions(config: DTLNSConfig) -> dict[str, Any]:
    flat = config.settings.flat
    return METHODS.make(flat["method"], flat).versions(flat, teacher_recipe(flat))


def _resolved(config: DTLNSConfig) -> dict[str, Any]:
    """By the names that keys had when they first were digested, so that finished runs are found again."""
    return {
        OLD_NAMES.get(key, key): _by_content(value)
        for key, value in config.plain().items()
        if key not in _INCIDENTAL and value != OF_ONE_RUN.get(key, _MISSING)
    }


def _by_content(value: Any) -> Any:
    """The value, with the content in place of every file and folder that it names; other values stay.

    Settings name them by absolute paths, so that they mean the same in the folder of a cell.
    """
    if isinstance(value, list):
        return [_by_content(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _by_content(entry) for key, entry in value.items()}
    if isinstance(value, str) and Path(value).is_absolute():
        path = Path(value)
        if path.is_dir():
            return {"folder": model_revision(value, None)}
        if path.is_file():
            state = path.stat()
            return {"file": _file_digest(path, (state.st_mtime_ns, state.st_size))}
    return value


@cache
def _file_digest(file: Path, _state: tuple[int, int]) -> str:
    """Computed once for a file as long as its time of change and its size stay."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Trial:
    """A run that validation looks at to choose an arm's settings.

    Attributes:
        arm: whose.
        settings: those that it has.
        cell: the run, of which test is not looked at.
    """

    arm: str
    settings: dict[str, Any]
    cell: Cell


@dataclass(frozen=True)
class Experiment:
    """A checked experiment.

    Attributes:
        name: of the file.
        about: what it asks, in a sentence.
        arms: the first ones of the file's order; references last.
        baseline: name of the arm that all others are compared with.
        seeds: of the runs.
        vary: what they drive: `run` (first weights, batches, negatives, a random split) as `seed`, `preparation`
            (trees, judges, pairs hidden on purpose) as `dtlns_seed`; what they do not drive is the same in all.
        splits: settings of each split, by its name.
        test: of significance.
        margin: by metric, how much more than the baseline, relative to it, an arm is tested to have.
        against: further arms that an arm is tested against.
        test_best: how many arms, the best on validation, are tested; the cells look at validation alone then. None:
            all arms are tested.
        refit: whether the arms that are tested are refitted too, for a table of its own.
        groups: bounds of groups of users (`history`) and of pairs to be found (`popularity`), by train pairs.
        metrics, topk: by user.
        valid_metric, valid_metric_bigger: what chooses the epoch, and whether more of it is better.
        cells: the runs; those of arms whose settings are left to validation are added when it has chosen.
        trials: the runs among which it chooses.
        waiting: runs of references that stand beside some of what it chooses among; test is read of those that stand
            beside what it has chosen.
        choices: what it chose.
    """

    name: str
    about: str
    arms: tuple[Arm, ...]
    baseline: str
    seeds: tuple[int, ...]
    vary: tuple[Varied, ...]
    splits: dict[str, dict[str, Any]]
    test: Literal["permutation", "wilcoxon"]
    margin: dict[str, float]
    against: dict[str, list[str]]
    test_best: int | None
    refit: bool
    groups: dict[GroupKind, list[int]]
    metrics: tuple[str, ...]
    topk: tuple[int, ...]
    valid_metric: str
    valid_metric_bigger: bool
    cells: tuple[Cell, ...]
    trials: tuple[Trial, ...] = ()
    waiting: tuple[Cell, ...] = ()
    choices: tuple[Choice, ...] = ()

    @property
    def measured(self) -> Part:
        """The part of the data that all arms are measured on."""
        return "test" if self.test_best is None else "validation"

    @property
    def any_cell(self) -> Cell:
        """One of the runs: all have the same data set and device."""
        return (*self.cells, *(trial.cell for trial in self.trials))[0]
