"""What a search found: all trials as a table, the best settings, and its metrics on test."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.runner import assemble_run
from recbole_dtlns.errors import TrialError
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.studies.tune.plan import Plan
from recbole_dtlns.studies.tune.trial import SCORE, reason_of
from recbole_dtlns.training.checkpoint import BEST, Checkpoint


@dataclass(frozen=True)
class Trial:
    """One trial, as far as it came.

    Attributes:
        name: of its folder.
        sampled: the searched keys' values.
        score: its best on validation; None where it was never evaluated.
        epochs: trained.
        seconds: that took; None where it was never evaluated.
        error: why it failed; empty where it did not.
        checkpoint: Ray's, of its run folder when it last was the best; None for none.
        path: where its files are.
    """

    name: str
    sampled: dict[str, Any]
    score: float | None
    epochs: int
    seconds: float | None
    error: str
    checkpoint: Any
    path: str

    @classmethod
    def of_ray(cls, result: Any) -> Trial:
        """What Ray says of a trial."""
        metrics = result.metrics or {}
        score = metrics.get(SCORE, math.nan)
        return cls(
            name=metrics.get("trial_id") or Path(result.path).name,
            sampled=dict(result.config or {}),  # None of a trial that was never started
            score=None if math.isnan(score) else float(score),
            epochs=metrics.get("epoch", 0),
            seconds=metrics.get("time_total_s"),
            error=reason_of(result.error) if result.error else "",
            checkpoint=result.checkpoint,
            path=str(result.path),
        )


@dataclass(frozen=True)
class Trials:
    """All trials of a search.

    Attributes:
        plan: of the search.
        folder: for its files.
        metric: what trials are chosen by.
        bigger: whether more of it is better.
        trials: the best first, those without a score last.
    """

    plan: Plan
    folder: Path
    metric: str
    bigger: bool
    trials: tuple[Trial, ...]

    @classmethod
    def of(cls, plan: Plan, folder: Path, config: DTLNSConfig, trials: list[Trial]) -> Trials:
        """In the order of their scores; those with equal ones stay in theirs."""
        bigger = bool(config["valid_metric_bigger"])
        sign = -1 if bigger else 1
        ordered = sorted(trials, key=lambda trial: math.inf if trial.score is None else sign * trial.score)
        return cls(plan, folder, config["valid_metric"], bigger, tuple(ordered))

    @property
    def keys(self) -> list[str]:
        """The searched ones."""
        return [parameter.key for parameter in self.plan.space]

    @property
    def scored(self) -> tuple[Trial, ...]:
        """Those that ended well, the best first."""
        return tuple(trial for trial in self.trials if trial.score is not None and not trial.error)

    @property
    def table(self) -> pd.DataFrame:
        """One row per trial, the best first: searched values, score, epochs, seconds, error."""
        return pd.DataFrame(
            {
                "trial": trial.name,
                **trial.sampled,
                SCORE: np.nan if trial.score is None else trial.score,
                "epoch": trial.epochs,
                "seconds": np.nan if trial.seconds is None else trial.seconds,
                "error": trial.error,
            }
            for trial in self.trials
        )

    def write(self) -> None:
        """Write trials.csv and trials.parquet."""
        table = self.table
        write_file(self.folder / "trials.csv", table.to_csv(index=False), "--storage")
        readable = table.assign(**{key: table[key].astype(str) for key in self.keys if table[key].dtype == object})
        write_file(self.folder / "trials.parquet", readable.to_parquet(index=False), "--storage")

    def best(self) -> Trial:
        """The one that is tested.

        Raises:
            TrialError: no trial has a score.
        """
        if not self.scored:
            raise TrialError(
                f"all {len(self.trials)} trials failed; the first: {self.trials[0].error} (more in {self.folder})"
            )
        return self.scored[0]


@dataclass(frozen=True)
class SearchResult:
    """Attributes:
    folder: holds trials.csv, trials.parquet, best.yaml, best.pth, result.json, the pictures and TensorBoard's files.
    table: one row per trial, the best first: searched values, score, epochs, seconds, error.
    best: the searched values of the best trial.
    best_valid_score: its validation score.
    valid_metric: of which.
    test_result: its metrics on test, evaluated once.
    leaking: whether they are inflated by the leaking protocol, and comparable with nothing.
    """

    folder: Path
    table: pd.DataFrame
    best: dict[str, Any]
    best_valid_score: float
    valid_metric: str
    test_result: dict[str, float]
    leaking: bool

    def text(self) -> str:
        """The best trials and what they were found for, for a terminal."""
        lines = self.table.head(5).to_string(index=False, float_format=lambda value: f"{value:.4g}")
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in self.test_result.items())
        return (
            f"the best of {len(self.table)} trials:\n{lines}\n"
            f"on test, evaluated once for the best: {metrics}\n"
            f"settings: {self.folder / 'best.yaml'}; all trials, pictures and TensorBoard's files: {self.folder}"
        )

    def write(self) -> None:
        """Write result.json."""
        content = {
            "best": self.best,
            "best_valid_score": self.best_valid_score,
            "valid_metric": self.valid_metric,
            "test_result": self.test_result,
            "leaking": self.leaking,
            "trials": len(self.table),
            "failed": int((self.table["error"] != "").sum()),
            "epochs": int(self.table["epoch"].sum()),
        }
        write_file(self.folder / "result.json", json.dumps(content, indent=2, default=float), "--storage")


def tested(trials: Trials) -> SearchResult:
    """Keep the best trial's settings and model, and evaluate it on test.

    Raises:
        TrialError: no trial has a score, or the best one left no model with it.
    """
    plan, folder, best = trials.plan, trials.folder, trials.best()
    assert best.score is not None  # it is one of those that are scored
    _write_best(trials, best)
    _keep_best(best, folder / BEST)
    config = plan.config(best.sampled)
    found = SearchResult(
        folder=folder,
        table=trials.table,
        best=best.sampled,
        best_valid_score=best.score,
        valid_metric=trials.metric,
        test_result=_test(plan, best, folder),
        leaking=config.settings.leaking,
    )
    found.write()
    return found


def _write_best(trials: Trials, best: Trial) -> None:
    file = trials.folder / "best.yaml"
    keys = {"model": trials.plan.model, "dataset": trials.plan.dataset, **trials.plan.keys, **best.sampled}
    head = (
        f"# The best of a search: {trials.metric} {best.score:.6f} on validation.\n"
        f"# python run_recbole_dtlns.py --config_files={file.name}\n"
    )
    write_file(file, head + yaml.safe_dump(json.loads(json.dumps(keys)), sort_keys=False), "--storage")


def _keep_best(best: Trial, file: Path) -> None:
    """Copy the model of the best trial out of its checkpoint, if it is the one that validation scored.

    Raises:
        TrialError: there is no checkpoint, or one of another model.
    """
    if best.checkpoint is None:
        raise TrialError(f"the best trial ({best.path}) left no checkpoint to test: search again under another --name")
    with best.checkpoint.as_directory() as saved:
        shutil.copy(Path(saved) / BEST, file)
    kept = Checkpoint.read(file).best_valid_score
    if kept != best.score:
        raise TrialError(
            f"the checkpoint of the best trial ({best.path}) holds a model that validation scored {kept}, not the best "
            f"one, of {best.score}: train with the settings in {file.with_name('best.yaml')} to test them"
        )


def _test(plan: Plan, best: Trial, folder: Path) -> dict[str, float]:
    run = assemble_run(plan.config({**best.sampled, "checkpoint_dir": str(folder / "test"), "state": "WARNING"}))
    with closing(run.trainer.tensorboard):
        found = run.trainer.evaluate(run.data.test_loader, model_file=folder / BEST)
    return {name: float(value) for name, value in found.items()}
