"""Refitting: validation chooses the epoch; then train and validation together are trained on for as many epochs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from recbole.data.dataset import Dataset
from recbole.data.interaction import cat_interactions

from recbole_dtlns.bridge.models.capabilities import is_closed_form
from recbole_dtlns.errors import CheckpointError, ConfigError
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.training.checkpoint import BEST, LAST, Checkpoint

VALIDATED = "validated"  # in the folder of a run that refits: the run folder of the model that validation chose
_CHECKPOINT_TEACHER = "checkpoint"


@dataclass(frozen=True)
class Chosen:
    """For how long a refit trains, and why.

    Attributes:
        epochs: of the refit.
        score, metrics: on validation, of the model that was trained on train alone for so many; None where the number
            was given.
    """

    epochs: int
    score: float | None = None
    metrics: dict[str, float] | None = None

    @classmethod
    def of(cls, config: Any, folder: Path) -> Self:
        """What the settings give, or what validation chose.

        Args:
            config: of the run.
            folder: of the run; its folder `validated` holds the model that validation chose.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        if not config.validates_first:
            return cls(1 if is_closed_form(config) else config["refit"])
        best = Checkpoint.read(folder / VALIDATED / BEST)
        return cls(best.epoch + 1, best.best_valid_score, best.best_valid_result)


def train_and_validation(parts: list[Dataset]) -> list[Dataset]:
    """The parts as a refit has them: the rows of validation are train's too.

    RecBole's samplers add one part to the next, so the mask on test is what it is without a refit.

    Args:
        parts: train, validation and test part, observed pairs only.
    """
    train, valid, test = parts
    return [train.copy(cat_interactions([train.inter_feat, valid.inter_feat])), valid, test]


def taught_by_checkpoint(config: Any) -> bool:
    """Whether a saved model teaches the run: it knows the train part, or train and validation, and not both."""
    settings = config.settings
    return settings.prepares and _CHECKPOINT_TEACHER in (settings.flat["teachers"] or [settings.teacher])


def check_refit(config: Any, saved: bool = True) -> None:
    """Refuse a refit that could not be, or whose figures would be none, before any work.

    Args:
        config: of the run.
        saved: whether it saves checkpoints.

    Raises:
        ConfigError: the message says what to do.
    """
    wanted, settings = config["refit"], config.settings
    if wanted is False:
        return
    if settings.leaking:
        raise ConfigError(
            f"refit: {wanted} is for models that are used, and a run of the leaking protocol 'authors' is none: set "
            "dtlns_protocol: clean, or leave refit out"
        )
    if wanted is not True:
        if wanted > config["epochs"] and not is_closed_form(config):
            raise ConfigError(
                f"refit: {wanted} is more epochs than the run has (epochs: {config['epochs']}), by which its schedules "
                "go: raise epochs to what it was when the number was chosen"
            )
        return
    if config["epochs"] < 1 and not is_closed_form(config):
        raise ConfigError("refit: True trains for as many epochs as validation chose, and epochs: 0 trains for none")
    if config["eval_step"] < 1:
        raise ConfigError(
            "refit: True trains for as many epochs as validation chose, and eval_step: 0 looks at none: set eval_step "
            "to 1, or refit to the number of epochs"
        )
    if not saved:
        raise ConfigError(
            "refit: True reads the epoch that validation chose from a checkpoint: call with saved=True, or set refit "
            "to the number of epochs"
        )
    if taught_by_checkpoint(config):
        raise ConfigError(
            "refit: True prepares twice, on train and on train and validation, and dtlns_teacher: checkpoint knows one "
            "of the two: name a teacher by its model, or set refit to the number of epochs and the checkpoint to one "
            "of a refit"
        )


def stages_begun(config: Any) -> tuple[Path | None, Path | None]:
    """Where the run that `resume_from` names goes on: with the stage that validation watches, and with the refit.

    A run without a refit, or with a given number of epochs, has one stage. An ordinary run can be refitted later: its
    only stage is the first of the two.

    Returns:
        a checkpoint or run folder for each stage; None for one that was not begun. Where the second is given, the
        first is finished.

    Raises:
        CheckpointError: a checkpoint is damaged.
    """
    if not config["resume_from"]:
        return None, None
    path = Path(config["resume_from"])
    if config["refit"] is False:
        return path, None
    if not config.validates_first:
        return None, path
    folder = path if path.is_dir() else path.parent
    latest = next((file for file in (path, folder / LAST, folder / BEST) if file.is_file()), None)
    if latest is not None and Checkpoint.read(latest).provenance.refit:
        _check_chosen(folder)
        return folder / VALIDATED, path
    return (folder / VALIDATED if path.is_dir() and (folder / VALIDATED).is_dir() else path), None


def _check_chosen(folder: Path) -> None:
    """Refuse to go on with a refit whose number of epochs cannot be read, before any work."""
    file = folder / VALIDATED / BEST
    try:
        Checkpoint.read(file)
    except CheckpointError as error:
        raise CheckpointError(
            f"the refit in {folder} cannot go on: {file}, by which it knows for how many epochs, is missing or "
            "damaged. Take it from a copy, or set refit to the number of epochs"
        ) from error


def check_chosen_by_something(config: Any, parts: list[Dataset]) -> None:
    """Refuse a refit for as many epochs as validation chose, where validation holds nothing to choose by.

    Args:
        config: of the run.
        parts: train, validation and test part.

    Raises:
        ConfigError: the message says what to do.
    """
    if config.validates_first and not len(parts[1]):
        raise ConfigError(
            "refit: True trains for as many epochs as validation chose, and the validation part is empty: leave refit "
            "out, as a run on train alone learns from all the same pairs, or change eval_args"
        )


def carry_validated(begun: Path, folder: Path) -> None:
    """Copy what validation chose from the run that is continued into the folder of the one that goes on.

    With its latest checkpoint, by which a run that goes on from there in turn knows that this stage is finished.

    Args:
        begun: the run folder within the former.
        folder: of the latter.

    Raises:
        CheckpointError: a file cannot be read.
    """
    for file in sorted(begun.iterdir()):
        if file.name.startswith(".") or file.is_dir():
            continue
        try:
            content = file.read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"cannot read {file} ({error.strerror}), which the run that goes on takes along: mend that, or take it "
                "from a copy"
            ) from error
        write_file(folder / VALIDATED / file.name, content, "checkpoint_dir")
