"""What an experiment is made of: arms, splits, and the runs that these and the seeds make."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from recbole_dtlns.glue.config import DTLNSConfig, preset_file
from recbole_dtlns.glue.settings import PREFIX

Part = Literal["test", "validation"]
Varied = Literal["run", "preparation"]


@dataclass(frozen=True)
class Arm:
    """One row of the comparison.

    Attributes:
        name: as the tables show it.
        model: RecBole's name, or `package.module:Class`.
        keys: settings on top of those that all arms share.
        reference: a closed-form model that stands beside the arms and is not tuned.
        swept: the keys that the experiment varies along this arm, with their values.
    """

    name: str
    model: str
    keys: dict[str, Any]
    reference: bool = False
    swept: dict[str, Any] | None = None


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

    @property
    def digest(self) -> str:
        """Of all that the result depends on: settings, and the content of the preset and the files they name."""
        volatile = (f"{PREFIX}cache_dir", "data_path", "use_gpu", "gpu_id")
        keys = {key: value for key, value in self.keys.items() if key not in volatile}
        mask = {key: value for key, value in (self.authors_mask or {}).items() if key not in volatile}
        named = [Path(value) for value in [*keys.values(), *mask.values()] if isinstance(value, str)]
        files = [*Path(self.keys["data_path"], self.dataset).glob(f"{self.dataset}*"), *named]
        content = {
            "model": self.model,
            "dataset": self.dataset,
            "seed": self.seed,
            "keys": keys,
            "preset": yaml.safe_load(preset_file(keys.get(f"{PREFIX}preset", "clean")).read_text()),
            "authors_mask": mask,
            "measured": self.measured,
            "files": sorted(_file_digest(file) for file in files if file.is_file()),
        }
        text = json.dumps(content, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def folder_name(self) -> str:
        slug = re.sub(r"[^\w.=+-]+", "-", self.arm).strip("-")[:60]
        return f"{slug}_{self.split}_{self.seed}_{self.digest}"

    def config(self) -> DTLNSConfig:
        """The configuration of the run, for checking it."""
        return DTLNSConfig(self.model, self.dataset, config_dict=self.keys)

    @property
    def title(self) -> str:
        return f"{self.arm}, {self.split}, seed {self.seed}{'' if self.measured == 'test' else ', validation alone'}"


@cache
def _file_digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


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
        metrics, topk: by user.
        valid_metric, valid_metric_bigger: what chooses the epoch, and whether more of it is better.
        cells: the runs.
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
    metrics: tuple[str, ...]
    topk: tuple[int, ...]
    valid_metric: str
    valid_metric_bigger: bool
    cells: tuple[Cell, ...]
