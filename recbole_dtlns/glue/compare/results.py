"""What an experiment found: one row per arm and split, with tests against the baseline, as table and plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd

from recbole_dtlns.errors import TrialError
from recbole_dtlns.evaluation.rankings import equal_groups
from recbole_dtlns.evaluation.significance import PairedTest, holm, paired_test
from recbole_dtlns.glue.compare.cell import AUTHORS, EXPLANATION, PER_USER, RESULT
from recbole_dtlns.glue.compare.experiment import Cell, Experiment
from recbole_dtlns.glue.compare.tables import markdown
from recbole_dtlns.glue.runner import write_file

JSON, TABLE, USERS = "comparison.json", "comparison.md", "per_user.parquet"
_GROUPS = 4


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
        content = json.loads((folder / RESULT).read_text())
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


def collect(experiment: Experiment, folder: Path, cells: Mapping[Cell, Path]) -> Comparison:
    """Read the finished cells, test every arm against the baseline, and write the comparison.

    Args:
        experiment: the whole experiment.
        folder: of the comparison.
        cells: the folder of each cell; those without a result are left out.

    Raises:
        TrialError: no cell is finished.
    """
    results = [Result.read(cell, path) for cell, path in cells.items() if (path / RESULT).exists()]
    if not results:
        raise TrialError(f"all runs of {experiment.name} failed: see log.txt in the folders under {folder / 'cells'}")
    names = [f"{metric}@{k}" for metric in experiment.metrics for k in experiment.topk]
    rows = []
    for split in experiment.splits:
        here = [result for result in results if result.cell.split == split]
        by_arm = {arm.name: [one for one in here if one.cell.arm == arm.name] for arm in experiment.arms}
        of_split = [
            {**_row(by_arm[arm.name], names, folder), "settings": arm.keys}
            for arm in experiment.arms
            if by_arm[arm.name]
        ]
        baseline = by_arm.get(experiment.baseline)
        if baseline:
            _add_tests(of_split, by_arm, baseline, names, experiment)
        rows += of_split
    content = {
        "experiment": {
            "name": experiment.name,
            "about": experiment.about,
            "dataset": experiment.cells[0].dataset,
            "baseline": experiment.baseline,
            "seeds": list(experiment.seeds),
            "splits": list(experiment.splits),
            "test": experiment.test,
            "metrics": names,
            "valid_metric": experiment.valid_metric,
            "runs": len(experiment.cells),
            "finished": len(results),
            "users": {split: _n_users(results, split) for split in experiment.splits},
        },
        "rows": rows,
    }
    found = Comparison(folder, content)
    write_file(folder / JSON, json.dumps(content, indent=1))
    write_file(folder / TABLE, f"{found.text()}\n")
    users = [
        result.users.reset_index().assign(arm=result.cell.arm, split=result.cell.split, seed=result.cell.seed)
        for result in results
    ]
    pd.concat(users, ignore_index=True).to_parquet(folder / USERS, index=False)
    return found


def _n_users(results: list[Result], split: str) -> int:
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
        "test": {name: _spread_over_seeds([result.content["test"][name] for result in results]) for name in names},
        "authors_mask": {
            name: _spread_over_seeds([result.content["test"][AUTHORS + name] for result in results])
            for name in names
            if AUTHORS + name in first["test"]
        },
        "valid": _spread_over_seeds([result.content["best_valid_score"] for result in results]),
        "best_epoch": _mean_or_none([result.content["best_epoch"] for result in results]),
        "seconds_per_epoch": _mean_or_none([result.content["seconds_per_epoch"] for result in results]),
        "recovered": _mean_or_none([result.content["recovered"] for result in results]),
        "spread": {key: mean(result.content["spread"][key] for result in results) for key in first["spread"]},
        "item_groups": first["item_groups"],
        "user_groups": _user_groups(_by_user(results, [*names, "history"]), names),
        "curve": first["curve"],
        "tests": {},
        "explanation": str(explanation.relative_to(folder)) if explanation.exists() else None,
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


def _add_tests(
    rows: list[dict[str, Any]],
    by_arm: dict[str, list[Result]],
    baseline: list[Result],
    names: list[str],
    experiment: Experiment,
) -> None:
    """Test every honest arm against the baseline, metric by metric, and correct for all tests of the split."""
    tests: list[tuple[dict[str, Any], str, PairedTest]] = []
    for row in rows:
        if row["arm"] == experiment.baseline or row["leaking"]:
            continue
        model, base = _pair(by_arm[row["arm"]], baseline, names)
        for name in names:
            found = paired_test(model[name].to_numpy(), base[name].to_numpy(), experiment.test)
            tests.append((row, name, found))
    for (row, name, found), p in zip(tests, holm([found.p for _, _, found in tests]), strict=True):
        base_mean = mean(result.content["test"][name] for result in baseline)
        relative = row["test"][name]["mean"] / base_mean - 1 if base_mean else None
        row["tests"][name] = {**replace(found, p_holm=p).plain(), "relative": relative}


def _pair(model: list[Result], baseline: list[Result], names: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Users' means over the seeds that both have; a result that stands for all seeds is compared with all."""
    alike = any(result.cell.for_all_seeds for result in [*model, *baseline])
    seeds = None if alike else {result.cell.seed for result in model} & {result.cell.seed for result in baseline}
    first, second = _by_user(model, names, seeds), _by_user(baseline, names, seeds)
    users = first.index.intersection(second.index)
    return first.loc[users], second.loc[users]
