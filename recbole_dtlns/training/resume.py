"""What a run that was interrupted is continued from, and whether it is the same run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recbole_dtlns.errors import CheckpointError
from recbole_dtlns.storage.whole_files import remove_leftovers
from recbole_dtlns.training.checkpoint import BEST, LAST, SETTINGS, Checkpoint, Provenance

logger = logging.getLogger("recbole_dtlns")

_BEGUN_WITH = "model to begin with (init_from)"
_OF_DATA = "check data, split and seed"
_ADVICE = {_BEGUN_WITH: "give init_from as it was given then, so that what that model had learnt is checked"}


@dataclass(frozen=True)
class Interrupted:
    """A run as it was left.

    Attributes:
        path: of the checkpoint to go on from.
        state: what it holds.
        best: the best model until then, of the same run; None of a refit, whose model is the last.
    """

    path: Path
    state: Checkpoint
    best: Checkpoint | None


def find_interrupted(resume_file: str | Path, device: torch.device | str) -> Interrupted | None:
    """Read what there is to continue.

    Args:
        resume_file: a run folder's `last.pth` or `best.pth`, or the folder itself (its latest checkpoint).
        device: for the tensors.

    Returns:
        None where the run was ended before it had saved anything.

    Raises:
        CheckpointError: a file is missing or damaged, or the two of the folder are not of one run.
    """
    path = Path(resume_file)
    folder = path if path.is_dir() else path.parent
    for name in (BEST, LAST):
        remove_leftovers(folder / name)
    if path.is_dir():
        path = path / (LAST if (path / LAST).exists() else BEST)  # without validation only the latter is written
    if not path.exists() and (folder / SETTINGS).exists() and not any(folder.glob("*.pth")):
        logger.warning("%s holds no checkpoint: nothing was saved there yet. Starting at the beginning", folder)
        return None
    state = Checkpoint.read(path, device)
    if state.provenance.refit:
        return Interrupted(path, state, None)
    best = state if path.name == BEST else Checkpoint.read(folder / BEST, device)
    # A kill between the two files leaves the best of one epoch more than the last.
    other_score = best.epoch <= state.epoch and best.best_valid_score != state.best_valid_score
    if other_score or best.model != state.model or _differing(best.provenance, state.provenance):
        raise CheckpointError(
            f"{folder / BEST} and {path} are not of the same run: one of them was copied there. Resume from "
            "another folder, or train again"
        )
    return Interrupted(path, state, best)


def check_same_run(found: Interrupted, config: Any, provenance: Provenance) -> None:
    """Refuse to go on with another run than the one that was interrupted.

    Args:
        found: what was left.
        config: of the run that goes on.
        provenance: of the run that goes on.

    Raises:
        CheckpointError: model, train pairs, ids, protocol or learner are others.
    """
    path, state = found.path, found.state
    if state.model != config["model"]:
        raise CheckpointError(f"{path} holds a {state.model}, this run trains {config['model']}")
    if differing := _differing(state.provenance, provenance):
        raise CheckpointError(
            f"{path} was trained with another {differing[0]} than this run: {_ADVICE.get(differing[0], _OF_DATA)}"
        )
    # The optimizer continues as it was saved: another kind cannot, other rates would go unnoticed.
    if state.config["learner"] != config["learner"]:
        raise CheckpointError(
            f"{path} was trained with learner: {state.config['learner']}, whose state {config['learner']} cannot take"
        )
    sparse = bool(state.config.get("dtlns_sparse_gradients", False))
    if sparse != config.settings.sparse_gradients:
        raise CheckpointError(
            f"{path} was trained with dtlns_sparse_gradients: {sparse}, and its optimizer goes on as it was: set it so"
        )
    for key in ("learning_rate", "weight_decay"):
        if state.config[key] != config[key]:
            logger.warning("%s stays %s, as in %s; %s is not used", key, state.config[key], path, config[key])


def _differing(first: Provenance, second: Provenance) -> list[str]:
    """What two runs do not share, in words."""
    shared = {
        "stage (one of the two is a refit on train and validation)": first.refit == second.refit,
        "train pairs": first.train_fingerprint == second.train_fingerprint,
        "numbering of users and items (the files of the data set were reordered or changed)": (
            first.numbering == second.numbering
        ),
        "evaluation protocol": first.leaking == second.leaking,
        _BEGUN_WITH: first.began_with == second.began_with,
        "set of validation pairs": (
            not (first.valid_fingerprint and second.valid_fingerprint)
            or first.valid_fingerprint == second.valid_fingerprint
        ),
    }
    return [what for what, same in shared.items() if not same]
