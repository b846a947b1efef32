"""Training that diverges stops with a reason, and no run leaves anything running behind it."""

from __future__ import annotations

import gc
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.model.general_recommender import BPR
from tiny_runs import train
from torch.utils.tensorboard import SummaryWriter

from recbole_dtlns.errors import CheckpointError, DivergedError


class BreaksInEpoch1(BPR):
    """Its loss is finite for one epoch."""

    value = torch.nan
    epochs_begun = 0

    def train(self, mode: bool = True) -> Any:
        self.epochs_begun += mode
        return super().train(mode)

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        loss = super().calculate_loss(interaction)
        return loss * self.value if self.epochs_begun > 1 else loss


class BecomesInfinite(BreaksInEpoch1):
    value = torch.inf


@pytest.mark.parametrize(("model", "word"), [(BreaksInEpoch1, "nan"), (BecomesInfinite, "inf")])
@pytest.mark.parametrize("preset", ["off", "clean"])
def test_a_loss_that_is_no_number_stops_the_run_in_its_epoch(
    model: type[BreaksInEpoch1], word: str, preset: str, tiny: dict[str, Any]
) -> None:
    expected = rf"loss of {model.__name__} is {word} in epoch 1 .*lower learning_rate \(now 0.02\)$"
    with pytest.raises(DivergedError, match=expected):
        train(model, tiny, dtlns_preset=preset, epochs=5, learning_rate=0.02)


def test_strong_positives_are_named_among_what_to_lower(tiny: dict[str, Any]) -> None:
    with pytest.raises(DivergedError, match=r"learning_rate \(now 1e\+30\) or dtlns_relabel_weight \(now 10\)"):
        train("BPR", tiny, dtlns_preset="rows", learning_rate=1e30, epochs=5)


def test_a_teacher_that_diverges_is_named(tiny: dict[str, Any]) -> None:
    Path("fast.yaml").write_text("learning_rate: 1.0e+30\n")
    keys = {"dtlns_teacher": "BPR", "dtlns_teacher_epochs": 5, "dtlns_teacher_config_files": ["fast.yaml"]}
    with pytest.raises(DivergedError, match=r"lower the teacher's learning_rate \(now 1e\+30\) in a file that "):
        train("LightGCN", tiny, **keys)


def writers() -> int:
    gc.collect()
    return sum(type(thread).__module__.startswith("tensorboard.") for thread in threading.enumerate())


@pytest.mark.parametrize("how", ["ends", "diverges", "cannot be resumed"])
def test_no_run_leaves_tensorboards_thread_behind(how: str, tiny: dict[str, Any]) -> None:
    """RecBole never closes the writer: twenty runs in a process left twenty threads and open files."""
    before = writers()
    with closing(SummaryWriter("curves")):
        assert writers() == before + 1, "a thread that is there must be seen"
    if how == "ends":
        train("BPR", tiny)
    elif how == "diverges":
        with pytest.raises(DivergedError):
            train("BPR", tiny, learning_rate=1e30, epochs=5)
    else:
        with pytest.raises(CheckpointError):
            train("BPR", tiny, resume_from="nowhere")
    assert writers() == before


def test_what_was_logged_before_a_failure_is_in_the_curves(tiny: dict[str, Any]) -> None:
    with pytest.raises(DivergedError):
        train("BPR", tiny, learning_rate=1e30, epochs=5)
    assert list(Path("log_tensorboard").glob("*/events.out.tfevents.*"))
