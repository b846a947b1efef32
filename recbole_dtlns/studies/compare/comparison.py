"""The arms of an experiment side by side: what comparison.json holds."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from recbole_dtlns.errors import ArtefactError, ConfigError
from recbole_dtlns.evaluation.rankings import Spread
from recbole_dtlns.evaluation.significance import MarginTest, PairedTest
from recbole_dtlns.storage.sealed_json import read_sealed, sealed
from recbole_dtlns.storage.typed_json import read_as
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.studies.compare.cell_result import ItemGroup, Part, plain_data
from recbole_dtlns.training.checkpoint import Epoch

JSON = "comparison.json"
FORMAT = 2
Varied = Literal["run", "preparation"]  # what seeds drive
_FLIPS_OF_0_1 = 9_999


@dataclass(frozen=True)
class OverSeeds:
    """A number of every seed; all None where it was not measured."""

    mean: float | None
    sd: float | None
    by_seed: list[float | None]

    @property
    def known(self) -> float:
        """The mean of what was measured with every seed; otherwise not a number."""
        return math.nan if self.mean is None else self.mean


@dataclass(frozen=True)
class Change(PairedTest):
    """A test of two arms, with the change relative to the mean of the second; None where that is 0."""

    relative: float | None = None


@dataclass(frozen=True)
class UserGroup:
    """Users with histories of about the same length.

    Attributes:
        least, most: length of their histories.
        users: how many there are.
        metrics: their means.
    """

    least: float
    most: float
    users: int
    metrics: dict[str, float]

    def plain(self) -> dict[str, Any]:
        """As comparison.json holds it: the metrics beside the rest."""
        return {"least": self.least, "most": self.most, "users": self.users, **self.metrics}

    @classmethod
    def of_plain(cls, content: dict[str, Any]) -> UserGroup:
        """Undo `plain`."""
        own = {name: content[name] for name in ("least", "most", "users")}
        return cls(**own, metrics={name: value for name, value in content.items() if name not in own})


@dataclass(frozen=True)
class Row:
    """One arm on one split.

    Attributes:
        arm, split, model: which.
        reference: whether it is a model that stands beside the arms and is not tuned.
        leaking: whether its figures are inflated, and results of nothing.
        swept: the keys that the experiment varies along this arm, with their values.
        seeds: of its finished runs.
        measured: the part of the data that was ranked.
        metrics: on that part.
        authors_mask: the same under the published mask, which leaks; empty where it was not asked for.
        valid: the best score on validation.
        best_epoch, seconds_per_epoch, recovered: means over seeds; None where there are none.
        undertrained: the seeds whose best epoch was the last allowed.
        spread: mean over seeds.
        item_groups, curve: of the first seed.
        user_groups: of users' means over seeds.
        tests: by metric, against the baseline.
        margins: by metric, against the baseline's margin.
        warnings: what makes its numbers a poor measure of it.
        explanation: file of what was found before training, in the folder of the comparison.
        settings: its own.
    """

    arm: str
    split: str
    model: str
    reference: bool
    leaking: bool
    swept: dict[str, Any] | None
    seeds: list[int]
    measured: Part
    metrics: dict[str, OverSeeds]
    authors_mask: dict[str, OverSeeds]
    valid: OverSeeds
    best_epoch: float | None
    undertrained: list[int]
    seconds_per_epoch: float | None
    recovered: float | None
    spread: Spread
    item_groups: list[ItemGroup]
    user_groups: list[UserGroup]
    curve: list[Epoch]
    settings: dict[str, Any]
    tests: dict[str, Change] = field(default_factory=dict)
    margins: dict[str, MarginTest] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    explanation: str | None = None

    def mean(self, metric: str) -> float:
        """Of a metric over seeds."""
        return self.metrics[metric].known

    def plain(self) -> dict[str, Any]:
        """As comparison.json holds it: the metrics stand under the name of the part they were measured on."""
        content = plain_data({**vars(self), "user_groups": [group.plain() for group in self.user_groups]})
        return {**content, self.measured: content.pop("metrics")}


@dataclass(frozen=True)
class NamedPair:
    """The tests, by metric, of an arm against another that the experiment names."""

    split: str
    arm: str
    against: str
    tests: dict[str, Change]


@dataclass(frozen=True)
class Tried:
    """Settings that validation could choose.

    Attributes:
        settings: which.
        valid: the best score on validation.
    """

    settings: dict[str, Any]
    valid: OverSeeds


@dataclass(frozen=True)
class Choice:
    """What validation chose for an arm of which some settings are left to it.

    Attributes:
        split, arm: whose.
        tried: all that it could have, the best first.
    """

    split: str
    arm: str
    tried: list[Tried]

    @property
    def settings(self) -> dict[str, Any]:
        """Those that it has in the comparison."""
        return self.tried[0].settings

    @property
    def ends(self) -> dict[str, str]:
        """Keys of which the smallest or largest number that was tried was chosen, and which of these."""
        found = {}
        for key, value in self.settings.items():
            values = [one.settings[key] for one in self.tried]
            numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in values)
            if numbers and len(set(values)) > 1 and value in (min(values), max(values)):
                found[key] = "smallest" if value == min(values) else "largest"
        return found


@dataclass(frozen=True)
class Chosen:
    """An arm that validation chose, on test."""

    split: str
    arm: str
    seeds: list[int]
    test: dict[str, OverSeeds]


@dataclass(frozen=True)
class Refitted:
    """An arm that was trained anew on train and validation, on test: beside the comparison, and no part of it.

    Attributes:
        split, arm, seeds: which.
        epochs: of each seed, as validation chose them.
        reference: whether it stands beside the arms and is not tuned.
        test: its metrics.
    """

    split: str
    arm: str
    seeds: list[int]
    epochs: list[int]
    reference: bool
    test: dict[str, OverSeeds]


GroupKind = Literal["history", "popularity"]


@dataclass(frozen=True)
class Grouped:
    """The arms among some users, or some pairs to be found, by a metric.

    Attributes:
        split: which.
        by: `history` (users, by their train pairs) or `popularity` (pairs to be found, by the train pairs of the item).
        least, most: of these counts; `most` is None where there is no bound.
        metric: by user; of pairs `found@k`, the share of them that is among the first k.
        users: how many there are.
        pairs: likewise; None of groups of users.
        arms: the metric's mean over users, or over pairs, and over seeds.
        tests: of the arms against the baseline, corrected over all groups of the split.
    """

    split: str
    by: GroupKind
    least: int
    most: int | None
    metric: str
    users: int
    pairs: int | None
    arms: dict[str, float]
    tests: dict[str, Change] = field(default_factory=dict)


@dataclass(frozen=True)
class TestCount:
    """How many tests a split has, and how many sign flips each of them at most."""

    __test__ = False  # pytest takes it for one of its own

    tests: int
    flips: int


@dataclass(frozen=True)
class Head:
    """What is said of an experiment above its tables.

    Attributes:
        name, about, dataset, baseline, seeds, vary, splits, test, valid_metric: as in `Experiment`.
        tests: made, by split.
        measured: the part of the data that was ranked.
        metrics: names, such as `recall@10`.
        runs, finished: how many there are.
        users: ranked, by split.
    """

    name: str
    about: str
    dataset: str
    baseline: str
    seeds: list[int]
    vary: list[Varied]
    splits: list[str]
    test: Literal["permutation", "wilcoxon"]
    tests: dict[str, TestCount]
    measured: Part
    metrics: list[str]
    valid_metric: str
    runs: int
    finished: int
    users: dict[str, int]


@dataclass(frozen=True)
class Comparison:
    """The arms of an experiment side by side.

    Attributes:
        folder: holds comparison.md, comparison.json, per_user.parquet and the cells.
        experiment: what was asked.
        rows: one per arm and split.
        pairs: that the experiment names.
        chosen: what validation chose, on test; None where all arms are tested.
        refits: the tested arms, trained anew on train and validation; None where that was not asked for.
        groups: the arms by groups; None where none were asked for.
        choices: of settings that are left to validation; None where none are.
    """

    folder: Path
    experiment: Head
    rows: list[Row]
    pairs: list[NamedPair]
    chosen: list[Chosen] | None = None
    refits: list[Refitted] | None = None
    groups: list[Grouped] | None = None
    choices: list[Choice] | None = None

    def of_split(self, split: str) -> Comparison:
        """The part of it that is about one split."""
        chosen = None if self.chosen is None else [one for one in self.chosen if one.split == split]
        refits = None if self.refits is None else [one for one in self.refits if one.split == split]
        groups = None if self.groups is None else [one for one in self.groups if one.split == split]
        choices = None if self.choices is None else [one for one in self.choices if one.split == split]
        rows = [row for row in self.rows if row.split == split]
        pairs = [one for one in self.pairs if one.split == split]
        return Comparison(self.folder, self.experiment, rows, pairs, chosen, refits, groups, choices)

    def plain(self) -> dict[str, Any]:
        """As comparison.json holds it."""
        content = {
            "format": FORMAT,
            "experiment": plain_data(self.experiment),
            "rows": [row.plain() for row in self.rows],
            "pairs": plain_data(self.pairs),
        }
        further = {"chosen": self.chosen, "refits": self.refits, "groups": self.groups, "choices": self.choices}
        return content | {name: plain_data(value) for name, value in further.items() if value is not None}

    def write(self) -> None:
        """Write comparison.json.

        Raises:
            ArtefactError: it cannot be written.
        """
        write_file(self.folder / JSON, sealed(self.plain()), "--output")

    @classmethod
    def read(cls, folder: Path) -> Comparison:
        """Read comparison.json, of this version or of 0.1.

        Raises:
            ConfigError: there is none, it is damaged, or it is of a version that is not known.
        """
        file = folder / JSON
        try:
            content = read_sealed(file, old=True)
        except ArtefactError as error:
            raise ConfigError(
                f"{folder} holds no finished comparison ({error}): give a folder that 'recbole-dtlns compare' wrote, "
                "or start it again, which repeats nothing that is done"
            ) from error
        if "format" not in content:
            content = _of_0_1(content)
        try:
            if content["format"] != FORMAT:
                raise ArtefactError(f"{file} is of another version of recbole_dtlns")
            rows = [_row(row, file) for row in content["rows"]]
            return read_as(cls, {**content, "rows": rows, "folder": folder}, file)
        except (ArtefactError, KeyError, TypeError) as error:
            raise ConfigError(f"{error}: start the comparison again") from error


def _row(content: dict[str, Any], file: Path) -> Row:
    groups = [UserGroup.of_plain(group) for group in content["user_groups"]]
    return read_as(Row, {**content, "metrics": content[content["measured"]], "user_groups": groups}, file)


def _of_0_1(content: dict[str, Any]) -> dict[str, Any]:
    """What 0.1 wrote, in today's form: it measured test, let seeds drive the run alone, and knew neither margins."""
    experiment, rows = content["experiment"], content["rows"]
    counts = Counter(dict.fromkeys(experiment["splits"], 0))
    for row in rows:
        counts[row["split"]] += len(row["tests"])
    tests = {split: {"tests": count, "flips": _FLIPS_OF_0_1} for split, count in counts.items()}
    new = {"measured": "test", "undertrained": []}
    return {
        "format": FORMAT,
        "experiment": {**experiment, "vary": ["run"], "measured": "test", "tests": tests},
        "rows": [{**new, **row} for row in rows],
        "pairs": [],
    }
