"""One trial of a search: a run that reports after every evaluation and can be continued on any node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.runner import assemble_run

SCORE = "best_valid_score"  # the best so far: what trials are stopped and chosen by
_VALID = "valid_"


@dataclass(frozen=True)
class Report:
    """What a trial says after an evaluation; Ray carries it as numbers by name.

    Attributes:
        epoch: epochs trained.
        evaluations: made.
        score: of this evaluation.
        best: the best so far.
        valid: every metric on validation.
    """

    epoch: int
    evaluations: int
    score: float
    best: float
    valid: dict[str, float]

    def numbers(self) -> dict[str, float]:
        """As Ray takes it."""
        return {"epoch": self.epoch, "evaluations": self.evaluations, **self.scalars()}

    def scalars(self) -> dict[str, float]:
        """Scores and metrics, as TensorBoard shows them."""
        valid = {f"{_VALID}{name}": value for name, value in self.valid.items()}
        return {f"{_VALID}score": self.score, SCORE: self.best, **valid}

    @classmethod
    def of_ray(cls, numbers: Mapping[str, Any]) -> Report | None:
        """Of a trial's latest result; None where it was never evaluated."""
        if SCORE not in numbers:
            return None
        valid = {key.removeprefix(_VALID): value for key, value in numbers.items() if key.startswith(_VALID)}
        score = valid.pop("score")
        return cls(numbers["epoch"], numbers["evaluations"], score, numbers[SCORE], valid)


def train_trial(sampled: dict[str, Any], model: str, dataset: str, keys: dict[str, Any], checkpoint_every: int) -> None:
    """Train with sampled values, in a process that Ray has started.

    Nothing may follow `fit`: a trial that Ray stops never returns from its last report. Test pairs are not evaluated.

    Args:
        sampled: the searched keys' values.
        model, dataset: as for `run_recbole_dtlns`.
        keys: the other settings, with absolute paths.
        checkpoint_every: evaluations between checkpoints; a model that is the best so far is kept at once.
    """
    from ray import tune

    config = DTLNSConfig(model, dataset, config_dict={**keys, **sampled, **_of_trial()})
    run = assemble_run(config)
    trainer = run.trainer
    evaluations = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            trainer.resume_checkpoint(folder)
        evaluations = trainer.start_epoch // int(config["eval_step"])

    def report(epoch: int, score: float) -> None:
        nonlocal evaluations
        evaluations += 1
        valid = {name: float(value) for name, value in (trainer.latest_result or {}).items()}
        said = Report(epoch + 1, evaluations, float(score), float(trainer.best_valid_score), valid)
        # The best model so far must outlive the trial, which may be stopped at any report, and its node.
        best_so_far = trainer.cur_step == 0
        due = best_so_far or evaluations % checkpoint_every == 0
        tune.report(said.numbers(), checkpoint=tune.Checkpoint.from_directory(str(run.folder)) if due else None)

    run.fit(after_evaluation=report)


def _of_trial() -> dict[str, Any]:
    """Ray has given the trial a folder of its own as the present one, and names its GPUs in the environment."""
    return {"checkpoint_dir": str(Path.cwd() / "run"), "show_progress": False, "state": "WARNING"}


def described(values: dict[str, Any]) -> str:
    """Searched values in a line."""
    return ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
    )


def reason_of(error: BaseException | None) -> str:
    """The last line of an error that went through Ray: what was raised in the trial."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    if lines and lines[-1].strip() != "None":  # which Ray says of a process that ended without a word
        return lines[-1].strip()
    return "no reason given" if error is None else type(error).__name__
