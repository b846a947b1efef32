"""What a person sees while a search runs, and what TensorBoard shows of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ray.tune import Callback
from tqdm import tqdm

from recbole_dtlns.studies.tune.snapshots import Snapshots
from recbole_dtlns.studies.tune.trial import Report, described, reason_of


class Progress(Callback):
    """One line per finished trial, and in a terminal a bar with the best so far; whole snapshots are kept.

    Args:
        folder: of the search; in its `tensorboard` is one run per trial.
        metric: the validation metric's name.
        mode: max or min.
    """

    def __init__(self, folder: str, metric: str, mode: str) -> None:
        self.folder, self.metric, self.mode = Path(folder), metric, mode
        self.snapshots = Snapshots(self.folder)
        self.best: float | None = None
        self.finished = 0
        self._writers: dict[str, Any] = {}
        self._bar: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_writers": {}, "_bar": None}  # Ray keeps this with the search

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best, "finished": self.finished}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best, self.finished = state["best"], state["finished"]

    def setup(
        self, stop: Any = None, num_samples: int | None = None, total_num_samples: int | None = None, **info: Any
    ) -> None:
        total = total_num_samples or num_samples
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=self.finished, unit="trial", desc="search")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        writer = self._writers.get(trial.trial_id)
        if writer is None:
            from torch.utils.tensorboard import SummaryWriter

            writer = self._writers[trial.trial_id] = SummaryWriter(str(self.folder / "tensorboard" / trial.trial_id))
        report = Report.of_ray(result)
        if report is not None:
            for name, value in report.scalars().items():
                writer.add_scalar(name, value, report.epoch)
            self._note(report.best)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.snapshots.keep()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = trial.last_result or {}
        report = Report.of_ray(last)
        if report is None:
            said = "no evaluation"
        else:
            self._note(report.best)
            said = f"{self.metric} {report.best:.4f} after {report.epoch} epochs, {last['time_total_s']:.0f} s"
        self._end(trial, said)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, f"FAILED: {reason_of(trial.get_error())}")

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def _note(self, score: float) -> None:
        if self.best is None or (score > self.best) == (self.mode == "max"):
            self.best = score
        if self._bar is not None:
            self._bar.set_postfix_str(f"best {self.metric} {self.best:.4f}")

    def _end(self, trial: Any, said: str) -> None:
        self.finished += 1
        writer = self._writers.pop(trial.trial_id, None)
        if writer is not None:
            writer.close()
        best = "" if self.best is None else f"; best {self.best:.4f}"
        tqdm.write(f"trial {self.finished} ({described(trial.config)}): {said}{best}")
        sys.stdout.flush()
        if self._bar is not None:
            self._bar.update()
