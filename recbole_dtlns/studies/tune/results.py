"""What a search found: all trials as a table, the best settings, pictures."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.runner import assemble_run, write_file
from recbole_dtlns.bridge.training.checkpoint import load_run
from recbole_dtlns.bridge.training.trainer import BEST
from recbole_dtlns.errors import TrialError
from recbole_dtlns.reports.search import importance_page, parallel_page
from recbole_dtlns.studies.tune.trial import SCORE, reason_of

if TYPE_CHECKING:
    from recbole_dtlns.studies.tune.plan import Plan


@dataclass(frozen=True)
class SearchResult:
    """Attributes:
    folder: holds trials.csv, trials.parquet, best.yaml, best.pth, result.json, the pictures and TensorBoard's files.
    table: one row per trial, the best first: searched values, score, epochs, seconds, error.
    best: the searched values of the best trial.
    best_valid_score: its validation score.
    test_result: its metrics on test, evaluated once.
    """

    folder: Path
    table: pd.DataFrame
    best: dict[str, Any]
    best_valid_score: float
    test_result: dict[str, float]

    def text(self) -> str:
        """The best trials and what they were found for, for a terminal."""
        lines = self.table.head(5).to_string(index=False, float_format=lambda value: f"{value:.4g}")
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in self.test_result.items())
        return (
            f"the best of {len(self.table)} trials:\n{lines}\n"
            f"on test, evaluated once for the best: {metrics}\n"
            f"settings: {self.folder / 'best.yaml'}; all trials, pictures and TensorBoard's files: {self.folder}"
        )


def collect(plan: Plan, results: Any, folder: Path, config: DTLNSConfig) -> SearchResult:
    """Write the results of a search, and evaluate the best trial on test.

    Raises:
        TrialError: no trial has a score.
    """
    bigger = bool(config["valid_metric_bigger"])
    rows = [_row(result) for result in results]
    table = pd.DataFrame(rows).sort_values(SCORE, ascending=not bigger, kind="stable", na_position="last")
    keys = [parameter.key for parameter in plan.space]
    write_file(folder / "trials.csv", table.to_csv(index=False))
    readable = table.assign(**{key: table[key].astype(str) for key in keys if table[key].dtype == object})
    write_file(folder / "trials.parquet", readable.to_parquet(index=False))
    scored = table[table[SCORE].notna() & (table["error"] == "")]
    if scored.empty:
        raise TrialError(f"all {len(table)} trials failed; the first: {table['error'].iloc[0]} (more in {folder})")
    best = results[int(scored.index[0])]
    write_file(folder / "parallel.html", parallel_page(scored, keys, config["valid_metric"], bigger))
    write_file(folder / "importance.html", importance_page(scored, keys, config["valid_metric"]))
    score = float(best.metrics[SCORE])
    _write_best(plan, best.config, folder / "best.yaml", score, config["valid_metric"])
    _keep_best(best, folder / BEST, score)
    test_result = _test(plan, best, folder)
    content = {
        "best": best.config,
        "best_valid_score": score,
        "valid_metric": config["valid_metric"],
        "test_result": test_result,
        "leaking": config.settings.leaking,
        "trials": len(table),
        "failed": int((table["error"] != "").sum()),
        "epochs": int(table["epoch"].sum()),
    }
    write_file(folder / "result.json", json.dumps(content, indent=2, default=float))
    return SearchResult(folder, table.reset_index(drop=True), dict(best.config), score, test_result)


def _row(result: Any) -> dict[str, Any]:
    metrics = result.metrics or {}
    return {
        "trial": metrics.get("trial_id") or Path(result.path).name,
        **result.config,
        SCORE: metrics.get(SCORE, np.nan),
        "epoch": metrics.get("epoch", 0),
        "seconds": metrics.get("time_total_s", np.nan),
        "error": reason_of(result.error) if result.error else "",
    }


def _write_best(plan: Plan, sampled: dict[str, Any], file: Path, score: float, metric: str) -> None:
    keys = {"model": plan.model, "dataset": plan.dataset, **plan.keys, **sampled}
    head = (
        f"# The best of a search: {metric} {score:.6f} on validation.\n"
        f"# python run_recbole_dtlns.py --config_files={file.name}\n"
    )
    write_file(file, head + yaml.safe_dump(json.loads(json.dumps(keys)), sort_keys=False))


def _keep_best(best: Any, file: Path, score: float) -> None:
    """Copy the model of the best trial out of its checkpoint, if it is the one that validation scored.

    Raises:
        TrialError: there is no checkpoint, or one of another model.
    """
    if best.checkpoint is None:
        raise TrialError(f"the best trial ({best.path}) left no checkpoint to test: search again under another --name")
    with best.checkpoint.as_directory() as saved:
        shutil.copy(Path(saved) / BEST, file)
    kept = load_run(file)["best_valid_score"]
    if kept != score:
        raise TrialError(
            f"the checkpoint of the best trial ({best.path}) holds a model that validation scored {kept}, not the best "
            f"one, of {score}: train with the settings in {file.with_name('best.yaml')} to test them"
        )


def _test(plan: Plan, best: Any, folder: Path) -> dict[str, float]:
    keys = {**plan.keys, **best.config, "checkpoint_dir": str(folder / "test"), "state": "WARNING"}
    run = assemble_run(DTLNSConfig(plan.model, plan.dataset, config_dict=keys))
    with closing(run.trainer.tensorboard):
        found = run.trainer.evaluate(run.data.test_loader, model_file=folder / BEST)
    return {name: float(value) for name, value in found.items()}
