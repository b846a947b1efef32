"""What an experiment found: one row per arm and split, tests against the baseline and of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Literal

import numpy as np
import pandas as pd

from recbole_dtlns.bridge.models.capabilities import resolve_model
from recbole_dtlns.bridge.models.kinds import kind_of
from recbole_dtlns.errors import TrialError
from recbole_dtlns.evaluation.rankings import Spread, equal_groups
from recbole_dtlns.evaluation.significance import MarginTest, PairedTest, flips_for, holm, margin_test, paired_test
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.studies.compare.cell import AUTHORS
from recbole_dtlns.studies.compare.cell_result import (
    EXPLANATION,
    PER_PAIR,
    PER_USER,
    CellResult,
    is_finished,
    read_result,
)
from recbole_dtlns.studies.compare.comparison import (
    Change,
    Chosen,
    Comparison,
    Grouped,
    Head,
    NamedPair,
    OverSeeds,
    Refitted,
    Row,
    TestCount,
    UserGroup,
)
from recbole_dtlns.studies.compare.experiment import Arm, Cell, Experiment
from recbole_dtlns.studies.compare.grouped import Wanted, grouped
from recbole_dtlns.studies.compare.references import REFERENCES
from recbole_dtlns.studies.compare.tables import main_metric, markdown

TABLE, USERS = "comparison.md", "per_user.parquet"
_GROUPS = 4
_POPULARITY = REFERENCES["Pop"][0]


@dataclass(frozen=True)
class Result:
    """What one cell wrote.

    Attributes:
        cell: which.
        folder: of the cell.
        found: its result.json.
        users: its per_user.parquet, indexed by user token.
        pairs: its per_pair.parquet; None of runs before there was one.
    """

    cell: Cell
    folder: Path
    found: CellResult
    users: pd.DataFrame
    pairs: pd.DataFrame | None = None

    @classmethod
    def read(cls, cell: Cell, folder: Path) -> Result:
        found = read_result(folder, cell.digest)
        pairs = pd.read_parquet(folder / PER_PAIR) if (folder / PER_PAIR).exists() else None
        return cls(cell, folder, found, pd.read_parquet(folder / PER_USER).set_index("user_id"), pairs)


def collect(
    experiment: Experiment,
    folder: Path,
    cells: Mapping[Cell, Path],
    of_chosen: Mapping[Cell, Path] | None = None,
    of_refits: Mapping[Cell, Path] | None = None,
) -> Comparison:
    """Read the finished cells, compare their arms, and write the comparison.

    Args:
        experiment: the whole experiment.
        folder: of the comparison.
        cells: the folder of each cell; those without a result are left out.
        of_chosen: likewise the cells of the arms that validation chose for test, where the others are not tested.
        of_refits: likewise the cells that were trained on train and validation.

    Raises:
        TrialError: no cell is finished.
    """
    results = read_results(cells)
    if not results:
        raise TrialError(f"all runs of {experiment.name} failed: see log.txt in the folders under {folder / 'cells'}")
    found = summarised(experiment, results, folder)
    if experiment.test_best is not None:
        found = replace(found, chosen=_chosen_on_test(experiment, read_results(of_chosen or {})))
    if experiment.refit:
        found = replace(found, refits=_refits_on_test(experiment, read_results(of_refits or {})))
    found.write()
    write_file(folder / TABLE, f"{markdown(found)}\n", "--output")
    users = [
        result.users.reset_index().assign(arm=result.cell.arm, split=result.cell.split, seed=result.cell.seed)
        for result in results
    ]
    write_file(folder / USERS, pd.concat(users, ignore_index=True).to_parquet(index=False), "--output")
    return found


def read_results(cells: Mapping[Cell, Path]) -> list[Result]:
    """Of the cells that are finished."""
    return [Result.read(cell, path) for cell, path in cells.items() if is_finished(path, cell.digest)]


def refits(results: Sequence[Result]) -> list[Cell]:
    """The cells that refit what was measured on test, each for as many epochs as validation chose for it."""
    return [
        replace(result.cell, refit=1 if result.found.best_epoch is None else result.found.best_epoch + 1)
        for result in results
        if not result.found.leaking and result.cell.config()["eval_step"] > 0
    ]


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
    honest = [one.found.best_valid_score for one in own if not one.found.leaking]
    return over_seeds(honest).mean if honest else None


def _chosen_on_test(experiment: Experiment, results: list[Result]) -> list[Chosen]:
    names = _metric_names(experiment)
    pairs = dict.fromkeys((result.cell.split, result.cell.arm) for result in results)
    by_pair = {pair: [one for one in results if (one.cell.split, one.cell.arm) == pair] for pair in pairs}
    return [
        Chosen(split, arm, [one.cell.seed for one in own], _values(own, names)) for (split, arm), own in by_pair.items()
    ]


def _refits_on_test(experiment: Experiment, results: list[Result]) -> list[Refitted]:
    names = _metric_names(experiment)
    by_pair: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        by_pair.setdefault((result.cell.split, result.cell.arm), []).append(result)
    return [
        Refitted(
            split,
            arm,
            [one.cell.seed for one in own],
            [one.cell.refit or 0 for one in own],
            own[0].cell.reference,
            _values(own, names),
        )
        for (split, arm), own in by_pair.items()
    ]


def summarised(experiment: Experiment, results: Sequence[Result], folder: Path) -> Comparison:
    """The arms side by side, with all tests.

    Args:
        experiment: the whole experiment.
        results: of its finished cells.
        folder: of the comparison.
    """
    names = _metric_names(experiment)
    rows: list[Row] = []
    pairs: list[NamedPair] = []
    tests: dict[str, TestCount] = {}
    groups: list[Grouped] = []
    wanted = Wanted(experiment.groups, names, experiment.topk, experiment.baseline, experiment.test)
    for split in experiment.splits:
        here = [result for result in results if result.cell.split == split]
        by_arm = {arm.name: own for arm in experiment.arms if (own := [r for r in here if r.cell.arm == arm.name])}
        of_split = [
            _row(_settled(arm, split, experiment), by_arm[arm.name], names, folder)
            for arm in experiment.arms
            if arm.name in by_arm
        ]
        of_split = _warned(of_split, main_metric(names, experiment.valid_metric))
        of_split, named, tests[split] = _tested(of_split, split, by_arm, names, experiment)
        pairs += named
        rows += of_split
        if experiment.groups:
            honest = {arm: own for arm, own in by_arm.items() if not own[0].found.leaking}
            groups += grouped(split, honest, wanted)
    head = Head(
        name=experiment.name,
        about=experiment.about,
        dataset=experiment.any_cell.dataset,
        baseline=experiment.baseline,
        seeds=list(experiment.seeds),
        vary=list(experiment.vary),
        splits=list(experiment.splits),
        test=experiment.test,
        tests=tests,
        measured=experiment.measured,
        metrics=names,
        valid_metric=experiment.valid_metric,
        runs=len(experiment.cells),
        finished=len(results),
        users={split: _n_users(results, split) for split in experiment.splits},
    )
    choices = list(experiment.choices) if experiment.trials else None
    return Comparison(folder, head, rows, pairs, groups=groups if experiment.groups else None, choices=choices)


def _metric_names(experiment: Experiment) -> list[str]:
    return [f"{metric}@{k}" for metric in experiment.metrics for k in experiment.topk]


def _n_users(results: Sequence[Result], split: str) -> int:
    return max((len(result.users) for result in results if result.cell.split == split), default=0)


def _settled(arm: Arm, split: str, experiment: Experiment) -> Arm:
    """The arm with the settings that validation chose for it on this split, where some were left to it."""
    chosen = [one.settings for one in experiment.choices if (one.split, one.arm) == (split, arm.name)]
    return replace(arm, keys={**arm.keys, **chosen[0]}) if chosen else arm


def _row(arm: Arm, results: list[Result], names: list[str], folder: Path) -> Row:
    """One arm on one split: means and deviations over its seeds."""
    cell, first = results[0].cell, results[0].found
    found = [result.found for result in results]
    explanation = results[0].folder / EXPLANATION
    spreads = [one.spread for one in found]
    return Row(
        arm=cell.arm,
        split=cell.split,
        model=cell.model,
        reference=cell.reference,
        leaking=first.leaking,
        swept=cell.swept,
        seeds=[result.cell.seed for result in results],
        measured=cell.measured,
        metrics=_values(results, names),
        authors_mask={
            name: over_seeds([one.metrics[AUTHORS + name] for one in found])
            for name in names
            if AUTHORS + name in first.metrics
        },
        valid=over_seeds([one.best_valid_score for one in found]),
        best_epoch=_mean_or_none([one.best_epoch for one in found]),
        undertrained=[one.cell.seed for one in results if one.found.undertrained],
        seconds_per_epoch=_mean_or_none([one.seconds_per_epoch for one in found]),
        recovered=_mean_or_none([one.recovered for one in found]),
        spread=Spread(*(mean(getattr(one, name) for one in spreads) for name in ("coverage", "gini", "popularity"))),
        item_groups=first.item_groups,
        user_groups=_user_groups(_by_user(results, [*names, "history"]), names),
        curve=first.curve,
        settings=arm.keys,
        explanation=str(explanation.relative_to(folder)) if explanation.exists() else None,
    )


def _values(results: Sequence[Result], names: list[str]) -> dict[str, OverSeeds]:
    return {name: over_seeds([result.found.metrics[name] for result in results]) for name in names}


def over_seeds(values: Sequence[float | None]) -> OverSeeds:
    """Mean and deviation of a number of every seed; none of these where a seed has none."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return OverSeeds(None, None, list(values))
    return OverSeeds(mean(known), stdev(known) if len(known) > 1 else None, list(values))


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _by_user(results: list[Result], names: list[str], seeds: set[int] | None = None) -> pd.DataFrame:
    """Mean over seeds of every user's values, indexed by user."""
    chosen = [result.users[names] for result in results if seeds is None or result.cell.seed in seeds]
    return pd.concat(chosen).groupby(level=0).mean()


def _user_groups(users: pd.DataFrame, names: list[str]) -> list[UserGroup]:
    history = users["history"].to_numpy()
    groups = equal_groups(history, _GROUPS)
    return [
        UserGroup(
            least=float(history[groups == group].min()),
            most=float(history[groups == group].max()),
            users=int((groups == group).sum()),
            metrics={name: float(users[name].to_numpy()[groups == group].mean()) for name in names},
        )
        for group in np.unique(groups)
    ]


def _warned(rows: list[Row], metric: str) -> list[Row]:
    """The rows, saying what makes their numbers a poor measure of their arms."""
    popular = next((row for row in rows if row.model == _POPULARITY), None)
    kinds = [kind_of(resolve_model(row.model)) for row in rows]
    found = []
    for row, kind in zip(rows, kinds, strict=True):
        warnings = []
        if any(other.reads_facts for other in kinds) and not kind.reads_facts:
            warnings.append(
                "as RecBole has it, interactions of items without an entity are this arm's too, and left out for "
                "knowledge-aware ones: the tasks are the same only where every item has one"
            )
        if any(other.ordered for other in kinds) and not kind.ordered:
            warnings.append(
                "as RecBole has it, what users have is masked for this arm and not for sequential ones, whose task is "
                "the harder for it"
            )
        if row.undertrained:
            warnings.append(
                f"the best epoch is the last that epochs allows ({len(row.undertrained)} of {len(row.seeds)} "
                "seeds): it may still have been learning; give it more epochs"
            )
        if popular and row.mean(metric) < popular.mean(metric):
            warnings.append(f"{metric} is below {popular.arm}'s: recommending the most popular items is better")
        found.append(replace(row, warnings=warnings))
    return found


@dataclass(frozen=True)
class _Asked:
    """A test that is to be made: of a metric by user, of two arms; with a margin, whether it is passed."""

    arm: str
    other: str
    metric: str
    margin: float | None
    model: np.ndarray
    baseline: np.ndarray

    def answered(self, test: Literal["permutation", "wilcoxon"], flips: int) -> PairedTest | MarginTest:
        if self.margin is None:
            return paired_test(self.model, self.baseline, test, flips=flips)
        return margin_test(self.model, self.baseline, self.margin, flips=flips)

    def change(self, test: PairedTest) -> Change:
        """With the change relative to the baseline."""
        base = float(np.nanmean(self.baseline))
        return Change(**vars(test), relative=test.difference / base if base else None)


def _tested(
    rows: list[Row], split: str, by_arm: dict[str, list[Result]], names: list[str], experiment: Experiment
) -> tuple[list[Row], list[NamedPair], TestCount]:
    """Test honest arms against the baseline, against its margins and in named pairs; correct for all of them together.

    Returns:
        the rows with their tests, the pairs with theirs, and how many tests there are with how many sign flips each.
    """
    honest = {row.arm: row for row in rows if not row.leaking}
    baseline = experiment.baseline
    asked: list[_Asked] = []

    def ask(arm: str, other: str, margins: Mapping[str, float | None]) -> None:
        first, second = _pair(by_arm[arm], by_arm[other], names)
        asked.extend(
            _Asked(arm, other, name, margin, first[name].to_numpy(), second[name].to_numpy())
            for name, margin in margins.items()
        )

    no_margin = dict.fromkeys(names)
    for arm, row in honest.items():
        if arm != baseline and baseline in honest:
            ask(arm, baseline, no_margin)
            if not row.reference:
                ask(arm, baseline, experiment.margin)
    named = [
        (arm, other)
        for arm, others in experiment.against.items()
        for other in others
        if arm in honest and other in honest
    ]
    for arm, other in named:
        ask(arm, other, no_margin)
    flips = flips_for(len(asked))
    found = [one.answered(experiment.test, flips) for one in asked]
    changes: dict[tuple[str, str], dict[str, Change]] = {}
    margins: dict[str, dict[str, MarginTest]] = {}
    for one, answer, p in zip(asked, found, holm([answer.p for answer in found]), strict=True):
        corrected = replace(answer, p_holm=p)
        if isinstance(corrected, MarginTest):
            margins.setdefault(one.arm, {})[one.metric] = corrected
        else:
            changes.setdefault((one.arm, one.other), {})[one.metric] = one.change(corrected)
    rows = [replace(row, tests=changes.get((row.arm, baseline), {}), margins=margins.get(row.arm, {})) for row in rows]
    pairs = [NamedPair(split, arm, other, changes[arm, other]) for arm, other in named]
    return rows, pairs, TestCount(len(asked), flips)


def _pair(model: list[Result], baseline: list[Result], names: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Users' means over the seeds that both have; a result that stands for all seeds is compared with all."""
    alike = any(result.cell.for_all_seeds for result in [*model, *baseline])
    seeds = None if alike else {result.cell.seed for result in model} & {result.cell.seed for result in baseline}
    first, second = _by_user(model, names, seeds), _by_user(baseline, names, seeds)
    users = first.index.intersection(second.index)
    return first.loc[users], second.loc[users]
