"""What a checkpoint holds: a run as it stood after an epoch, whole enough to go on exactly."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import ConfigDict
from torch import Tensor

from recbole_dtlns.errors import ArtefactError, CheckpointError
from recbole_dtlns.storage.typed_json import read_as
from recbole_dtlns.training.tensor_file import from_plain, load_tensors, save_tensors, to_plain

BEST, LAST, SETTINGS = "best.pth", "last.pth", "config.yaml"  # files of a run folder
_SINCE_0_1 = (
    "curve",
    "averaged",
    "refit",
    "learnt_more",
    "began_with",
    "valid_fingerprint",
)  # what its first checkpoints lack


@dataclass(frozen=True)
class Provenance:
    """What a model learnt from, and how it was chosen.

    Attributes:
        train_fingerprint: of the train pairs.
        numbering: of RecBole's ids of users and items.
        protocol: of the evaluation.
        leaking: whether that lets test pairs through.
        chosen_on_validation: whether validation chose the epoch.
        refit: whether the train pairs are those of train and validation.
        learnt_more: whether the model began with one that had learnt other pairs too.
        began_with: SHA-256 of the saved model that it began with; empty where it began with none.
        valid_fingerprint: of the validation pairs; empty where it is not known.
    """

    train_fingerprint: str
    numbering: str
    protocol: str
    leaking: bool
    chosen_on_validation: bool = False
    refit: bool = False
    learnt_more: bool = False
    began_with: str = ""
    valid_fingerprint: str = ""


@dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    Attributes:
        epoch: its number, from 0.
        seconds: that training took.
        loss: summed over batches.
        valid: metrics on validation; None where it was not evaluated.
    """

    epoch: int
    seconds: float
    loss: float
    valid: dict[str, float] | None = None

    def plain(self) -> dict[str, Any]:
        """As files hold it."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class RandomState:
    """State of the global generators of Python, NumPy and torch, as tensors and plain data."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    python: list[Any]
    numpy: list[Any]
    torch: Tensor
    cuda: list[Tensor]

    @classmethod
    def taken(cls) -> RandomState:
        """As it is now."""
        numpy_state: Any = np.random.get_state(legacy=True)
        kind, keys, position, has_gauss, cached = numpy_state
        version, words, gauss = random.getstate()
        return cls(
            python=[version, torch.tensor(words), gauss],
            numpy=[str(kind), torch.as_tensor(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
            torch=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        )

    def restore(self) -> None:
        """Set the generators to it."""
        version, words, gauss = self.python
        random.setstate((version, tuple(map(int, words)), gauss))
        kind, keys, position, has_gauss, cached = self.numpy
        np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
        torch.set_rng_state(self.torch.cpu())
        if self.cuda and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([entry.cpu() for entry in self.cuda])


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run as it stood after an epoch.

    Attributes:
        provenance: what it learnt from.
        model: its name.
        config: every setting, as plain data.
        epoch: the last that was trained; -1 before the first.
        cur_step: evaluations since the best one.
        best_valid_score, best_valid_result: of the best evaluation so far.
        curve: the epochs so far.
        state_dict: the model's weights; where they are averaged, the averages, which are what is evaluated.
        other_parameter: what else the model keeps (matrices of closed-form models).
        optimizers: their states, by the trainer's attribute.
        random: state of the global generators.
        loader: state of the train loader's generator.
        sampler: what the sampler of negatives has learnt.
        past: weights of earlier epochs that the sampler compares with, the oldest first.
        averaged: what training goes on from, where state_dict holds averages; else empty.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    provenance: Provenance
    model: str
    config: dict[str, Any]
    epoch: int
    cur_step: int
    best_valid_score: float
    best_valid_result: dict[str, float]
    curve: list[Epoch]
    state_dict: dict[str, Any]
    other_parameter: dict[str, Any]
    optimizers: dict[str, dict[str, Any]]
    random: RandomState
    loader: Tensor
    sampler: dict[str, Any]
    past: list[dict[str, Any]]
    averaged: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it atomically, with a checksum over every byte.

        Raises:
            CheckpointError: the file cannot be written.
        """
        content = {**vars(self), **vars(self.provenance), "random": vars(self.random)}
        content["curve"] = [epoch.plain() for epoch in self.curve]
        del content["provenance"]
        save_tensors(path, to_plain(content))

    @classmethod
    def read(cls, path: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
        """Read a checkpoint of this version or of 0.1; nothing in it is executed.

        Raises:
            CheckpointError: the file is missing, damaged, or one of RecBole's own pickles; it holds no run, or one
                whose weights are NaN.
        """
        content = load_tensors(path, device)
        flat = [one.name for kind in (Provenance, cls) for one in fields(kind) if one.name != "provenance"]
        missing = [name for name in flat if name not in content and name not in _SINCE_0_1]
        if missing:
            raise CheckpointError(
                f"{path} holds no run that could be continued or evaluated ({', '.join(missing)} missing): give the "
                "best.pth or last.pth of a run folder"
            )
        decoded = {"curve": [], "averaged": {}, **content, "other_parameter": from_plain(content["other_parameter"])}
        try:
            found = read_as(cls, {**decoded, "provenance": content}, Path(path))
        except ArtefactError as error:
            raise CheckpointError(str(error)) from error
        for name, value in {**found.state_dict, **found.averaged.get("weights", {})}.items():
            if isinstance(value, Tensor) and value.is_floating_point() and bool(torch.isnan(value).any()):
                raise CheckpointError(
                    f"the weights {name} in {path} are NaN: its training had gone astray. Train again, with a lower "
                    "learning_rate"
                )
        return found
