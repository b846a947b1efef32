"""Settings that an experiment leaves to validation: they are tried first, and the best stand in the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from recbole_dtlns.studies.compare.comparison import Choice, Tried
from recbole_dtlns.studies.compare.experiment import Cell, Experiment, Trial, at_point
from recbole_dtlns.studies.compare.results import Result, over_seeds


def settled(experiment: Experiment, results: Sequence[Result]) -> Experiment:
    """The experiment with the runs of those arms whose settings validation has chosen.

    The best by the mean over seeds is chosen, for each split anew; of equal ones the first that the file names. An arm
    of which a trial is missing gets no run: what is missing might have been the best. What an arm learns from stands
    beside it, and beside nothing that was not chosen.

    Args:
        experiment: as read.
        results: of its finished trials.
    """
    found = {result.cell: result for result in results}
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in experiment.trials:
        groups.setdefault((trial.cell.split, trial.arm), []).append(trial)
    choices, cells = [], list(experiment.cells)
    for (split, arm), trials in groups.items():
        if any(trial.cell not in found for trial in trials):
            continue
        choice = Choice(split, arm, _best_first(trials, found, experiment.valid_metric_bigger))
        choices.append(choice)
        cells += [
            replace(trial.cell, arm=arm, swept=_swept(experiment, arm), measured=experiment.measured)
            for trial in trials
            if trial.settings == choice.settings
        ]
    chosen = {(choice.split, at_point(choice.arm, choice.settings)) for choice in choices}
    beside = {arm.name: arm.beside for arm in experiment.arms}
    cells += [
        cell for cell in experiment.waiting if any((cell.split, variant) in chosen for variant in beside[cell.arm])
    ]
    return replace(experiment, cells=tuple(cells), choices=tuple(choices))


def _best_first(trials: Sequence[Trial], found: Mapping[Cell, Result], bigger: bool) -> list[Tried]:
    by_settings: dict[str, list[Trial]] = {}
    for trial in trials:
        by_settings.setdefault(repr(trial.settings), []).append(trial)
    tried = [
        Tried(own[0].settings, over_seeds([found[trial.cell].found.best_valid_score for trial in own]))
        for own in by_settings.values()
    ]
    return sorted(tried, key=lambda one: one.valid.known, reverse=bigger)


def _swept(experiment: Experiment, name: str) -> dict[str, object] | None:
    return next(arm.swept for arm in experiment.arms if arm.name == name)
