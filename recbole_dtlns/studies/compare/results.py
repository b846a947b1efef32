"""What an experiment found: one row per arm and split, tests against the baseline and of pairs, as table and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np
import pandas as pd

from recbole_dtlns.bridge.runner import write_file
from recbole_dtlns.errors import TrialError
from recbole_dtlns.evaluation.rankings import equal_groups
from recbole_dtlns.evaluation.significance import MarginTest, PairedTest, flips_for, holm, margin_test, paired_test
from recbole_dtlns.storage.sealed_json import sealed
from recbole_dtlns.studies.compare.cell import AUTHORS
from recbole_dtlns.studies.compare.cell_result import EXPLANATION, PER_USER, is_finished, read_result
from recbole_dtlns.studies.compare.experiment import Cell, Experiment
from recbole_dtlns.studies.compare.experiment_file import REFERENCES
from recbole_dtlns.studies.compare.tables import main_metric, markdown, measured

JSON, TABLE, USERS = "comparison.json", "comparison.md", "per_user.parquet"
FORMAT = 2  # of comparison.json
_GROUPS = 4
_POPULARITY = REFERENCES["Pop"][0]


@dataclass(frozen=True)
class Result:
    """What one cell wrote.

    Attributes:
        cell: which.
        folder: of the cell.
        content: its result.json.
        users: its per_user.parquet, indexed by user token.
    """

    cell: Cell
    folder: Path
    content: dict[str, Any]
    users: pd.DataFrame

    @classmethod
    def read(cls, cell: Cell, folder: Path) -> Result:
        content = read_result(folder, cell.digest)
        return cls(cell, folder, content, pd.read_parquet(folder / PER_USER).set_index("user_id"))


@dataclass(frozen=True)
class Comparison:
    """The arms of an experiment side by side.

    Attributes:
        folder: holds comparison.md, comparison.json, per_user.parquet and the cells.
        content: of comparison.json: `experiment`, and one of `rows` per arm and split.
    """

    folder: Path
    content: dict[str, Any]

    def text(self) -> str:
        """The comparison as Markdown."""
        return "\n".join(markdown(self.content))


def collect(
    experiment: Experiment, folder: Path, cells: Mapping[Cell, Path], of_chosen: Mapping[Cell, Path] | None = None
) -> Comparison:
    """Read the finished cells, compare their arms, and write the comparison.

    Args:
        experiment: the whole experiment.
        folder: of the comparison.
        cells: the folder of each cell; those without a result are left out.
        of_chosen: likewise the cells of the arms that validation chose for test, where the others are not tested.

    Raises:
        TrialError: no cell is finished.
    """
    results = read_results(cells)
    if not results:
        raise TrialError(f"all runs of {experiment.name} failed: see log.txt in the folders under {folder / 'cells'}")
    content = summarised(experiment, results, folder)
    if experiment.test_best is not None:
        content["chosen"] = _chosen_on_test(experiment, read_results(of_chosen or {}))
    found = Comparison(folder, content)
    write_file(folder / JSON, sealed(content))
    write_file(folder / TABLE, f"{found.text()}\n")
    users = [
        result.users.reset_index().assign(arm=result.cell.arm, split=result.cell.split, seed=result.cell.seed)
        for result in results
    ]
    write_file(folder / USERS, pd.concat(users, ignore_index=True).to_parquet(index=False))
    return found


def read_results(cells: Mapping[Cell, Path]) -> list[Result]:
    """Of the cells that are finished."""
    return [Result.read(cell, path) for cell, path in cells.items() if is_finished(path, cell.digest)]


def chosen_on_validation(experiment: Experiment, results: Sequence[Result]) -> list[tuple[str, str]]:
    """Split and arm of the best, by the mean of the metric that chose their epochs; as many as the experiment tests."""
    found = []
    for split in experiment.splits:
        scores = {arm.name: _valid_score(results, split, arm.name) for arm in experiment.arms if not arm.reference}
        known = {arm: score for arm, score in scores.items() if score is not None}
        best = sorted(known, key=lambda arm: known[arm], reverse=experiment.valid_metric_bigger)
        found += [(split, arm) for arm in best[: experiment.test_best]]
    return found


def _valid_score(results: Sequence[Result], split: str, arm: str) -> float | None:
    own = [one for one in results if one.cell.split == split and one.cell.arm == arm]
    honest = [one.content["best_valid_score"] for one in own if not one.content["leaking"]]
    return mean(honest) if honest and None not in honest else None


def _chosen_on_test(experiment: Experiment, results: list[Result]) -> list[dict[str, Any]]:
    names = _metric_names(experiment)
    pairs = dict.fromkeys((result.cell.split, result.cell.arm) for result in results)
    by_pair = {pair: [one for one in results if (one.cell.split, one.cell.arm) == pair] for pair in pairs}
    return [
        {"split": split, "arm": arm, "seeds": [one.cell.seed for one in own], "test": _values(own, names)}
        for (split, arm), own in by_pair.items()
    ]


def summarised(experiment: Experiment, results: Sequence[Result], folder: Path) -> dict[str, Any]:
    """The arms side by side, as plain data, with all tests.

    Args:
        experiment: the whole experiment.
        results: of its finished cells.
        folder: of the comparison.
    """
    names = _metric_names(experiment)
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    tests: dict[str, dict[str, int]] = {}
    for split in experiment.splits:
        here = [result for result in results if result.cell.split == split]
        by_arm = {arm.name: own for arm in experiment.arms if (own := [r for r in here if r.cell.arm == arm.name])}
        of_split = [
            {**_row(by_arm[arm.name], names, folder), "settings": arm.keys}
            for arm in experiment.arms
            if arm.name in by_arm
        ]
        _add_warnings(of_split, main_metric(names, experiment.valid_metric))
        named, tests[split] = _add_tests(of_split, by_arm, names, experiment)
        pairs += [{"split": split, **pair} for pair in named]
        rows += of_split
    return {
        "format": FORMAT,
        "experiment": {
            "name": experiment.name,
            "about": experiment.about,
            "dataset": experiment.cells[0].dataset,
            "baseline": experiment.baseline,
            "seeds": list(experiment.seeds),
            "vary": list(experiment.vary),
            "splits": list(experiment.splits),
            "test": experiment.test,
            "tests": tests,
            "measured": experiment.cells[0].measured,
            "metrics": names,
            "valid_metric": experiment.valid_metric,
            "runs": len(experiment.cells),
            "finished": len(results),
            "users": {split: _n_users(results, split) for split in experiment.splits},
        },
        "rows": rows,
        "pairs": pairs,
    }


def _metric_names(experiment: Experiment) -> list[str]:
    return [f"{metric}@{k}" for metric in experiment.metrics for k in experiment.topk]


def _n_users(results: Sequence[Result], split: str) -> int:
    return max((len(result.users) for result in results if result.cell.split == split), default=0)


def _row(results: list[Result], names: list[str], folder: Path) -> dict[str, Any]:
    """One arm on one split: means and deviations over its seeds."""
    cell, first = results[0].cell, results[0].content
    explanation = results[0].folder / EXPLANATION
    return {
        "arm": cell.arm,
        "split": cell.split,
        "model": cell.model,
        "reference": cell.reference,
        "leaking": first["leaking"],
        "swept": cell.swept,
        "seeds": [result.cell.seed for result in results],
        "measured": cell.measured,
        cell.measured: _values(results, names),
        "authors_mask": {
            name: _spread_over_seeds([result.content[cell.measured][AUTHORS + name] for result in results])
            for name in names
            if AUTHORS + name in first[cell.measured]
        },
        "valid": _spread_over_seeds([result.content["best_valid_score"] for result in results]),
        "best_epoch": _mean_or_none([result.content["best_epoch"] for result in results]),
        "undertrained": [result.cell.seed for result in results if result.content["undertrained"]],
        "seconds_per_epoch": _mean_or_none([result.content["seconds_per_epoch"] for result in results]),
        "recovered": _mean_or_none([result.content["recovered"] for result in results]),
        "spread": {key: mean(result.content["spread"][key] for result in results) for key in first["spread"]},
        "item_groups": first["item_groups"],
        "user_groups": _user_groups(_by_user(results, [*names, "history"]), names),
        "curve": first["curve"],
        "tests": {},
        "margins": {},
        "warnings": [],
        "explanation": str(explanation.relative_to(folder)) if explanation.exists() else None,
    }


def _values(results: Sequence[Result], names: list[str]) -> dict[str, Any]:
    return {
        name: _spread_over_seeds([result.content[result.cell.measured][name] for result in results]) for name in names
    }


def _spread_over_seeds(values: list[Any]) -> dict[str, Any]:
    if None in values:
        return {"mean": None, "sd": None, "by_seed": values}
    return {"mean": mean(values), "sd": stdev(values) if len(values) > 1 else None, "by_seed": values}


def _mean_or_none(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _by_user(results: list[Result], names: list[str], seeds: set[int] | None = None) -> pd.DataFrame:
    """Mean over seeds of every user's values, indexed by user."""
    chosen = [result.users[names] for result in results if seeds is None or result.cell.seed in seeds]
    return pd.concat(chosen).groupby(level=0).mean()


def _user_groups(users: pd.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    history = users["history"].to_numpy()
    groups = equal_groups(history, _GROUPS)
    return [
        {
            "least": float(history[groups == group].min()),
            "most": float(history[groups == group].max()),
            "users": int((groups == group).sum()),
            **{name: float(users[name].to_numpy()[groups == group].mean()) for name in names},
        }
        for group in np.unique(groups)
    ]


def _add_warnings(rows: list[dict[str, Any]], metric: str) -> None:
    """Say of an arm what makes its numbers a poor measure of it."""
    popular = next((row for row in rows if row["model"] == _POPULARITY), None)
    for row in rows:
        if row["undertrained"]:
            row["warnings"].append(
                f"the best epoch is the last that epochs allows ({len(row['undertrained'])} of {len(row['seeds'])} "
                "seeds): it may still have been learning; give it more epochs"
            )
        if popular and measured(row)[metric]["mean"] < measured(popular)[metric]["mean"]:
            row["warnings"].append(
                f"{metric} is below {popular['arm']}'s: recommending the most popular items is better"
            )


@dataclass(frozen=True)
class _Asked:
    """A test that is to be made: of a metric by user, of two arms; where its result goes, and by what name."""

    model: np.ndarray
    baseline: np.ndarray
    margin: float | None
    to: dict[str, Any]
    name: str

    def answered(self, test: Literal["permutation", "wilcoxon"], flips: int) -> PairedTest | MarginTest:
        if self.margin is None:
            return paired_test(self.model, self.baseline, test, flips=flips)
        return margin_test(self.model, self.baseline, self.margin, flips=flips)


def _add_tests(
    rows: list[dict[str, Any]], by_arm: dict[str, list[Result]], names: list[str], experiment: Experiment
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Test honest arms against the baseline, against its margins and in named pairs; correct for all of them together.

    Returns:
        the pairs, and how many tests there are with how many sign flips each.
    """
    honest = {row["arm"]: row for row in rows if not row["leaking"]}
    asked: list[_Asked] = []

    def ask(model: str, other: str, to: dict[str, Any], margins: Mapping[str, float | None]) -> None:
        first, second = _pair(by_arm[model], by_arm[other], names)
        asked.extend(
            _Asked(first[name].to_numpy(), second[name].to_numpy(), margin, to, name)
            for name, margin in margins.items()
        )

    no_margin = dict.fromkeys(names)
    for arm, row in honest.items():
        if arm != experiment.baseline and experiment.baseline in honest:
            ask(arm, experiment.baseline, row["tests"], no_margin)
            if not row["reference"]:
                ask(arm, experiment.baseline, row["margins"], experiment.margin)
    pairs: list[dict[str, Any]] = [
        {"arm": arm, "against": other, "tests": {}}
        for arm, others in experiment.against.items()
        for other in others
        if arm in honest and other in honest
    ]
    for pair in pairs:
        ask(pair["arm"], pair["against"], pair["tests"], no_margin)
    flips = flips_for(len(asked))
    found = [one.answered(experiment.test, flips) for one in asked]
    for one, answer, p in zip(asked, found, holm([answer.p for answer in found]), strict=True):
        plain = replace(answer, p_holm=p).plain()
        if isinstance(answer, PairedTest):
            base = float(np.nanmean(one.baseline))
            plain["relative"] = answer.difference / base if base else None
        one.to[one.name] = plain
    return pairs, {"tests": len(asked), "flips": flips}


def _pair(model: list[Result], baseline: list[Result], names: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Users' means over the seeds that both have; a result that stands for all seeds is compared with all."""
    alike = any(result.cell.for_all_seeds for result in [*model, *baseline])
    seeds = None if alike else {result.cell.seed for result in model} & {result.cell.seed for result in baseline}
    first, second = _by_user(model, names, seeds), _by_user(baseline, names, seeds)
    users = first.index.intersection(second.index)
    return first.loc[users], second.loc[users]
