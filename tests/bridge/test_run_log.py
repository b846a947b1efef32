"""Every run of a process has a log of its own, and leaves the process as it found it."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.model.general_recommender import BPR
from tiny_runs import train


def logs(model: str) -> list[str]:
    """The logs of a model, oldest first."""
    files = sorted(Path("log", model).glob("*.log"), key=lambda file: file.stat().st_mtime_ns)
    return [file.read_text() for file in files]


def test_each_run_writes_its_own_file(tiny: dict[str, Any]) -> None:
    """RecBole would write all runs of a process into the first one's file."""
    folders = [train("BPR", tiny, seed=seed).folder.name for seed in (1, 2, 3)]
    written = logs("BPR")
    assert len(written) == 3
    for folder, text in zip(folders, written, strict=True):
        assert [name for name in folders if name in text] == [folder]
        assert text.count("test result") == 1


def test_curves_of_each_run_are_kept_apart(tiny: dict[str, Any]) -> None:
    """RecBole names TensorBoard's folder after the log file."""
    for seed in (1, 2):
        train("BPR", tiny, seed=seed)
    assert len(list(Path("log_tensorboard").iterdir())) == 2


def test_handlers_of_the_program_stay_and_files_do_not_pile_up(tiny: dict[str, Any]) -> None:
    root = logging.getLogger()
    own = logging.NullHandler()
    root.addHandler(own)
    before = list(root.handlers)
    for _ in range(3):
        train("BPR", tiny)
    assert [handler for handler in root.handlers if handler in before] == before
    assert sum(isinstance(handler, logging.FileHandler) for handler in set(root.handlers) - set(before)) == 1
    root.removeHandler(own)


def test_standard_streams_are_not_wrapped_once_per_run(tiny: dict[str, Any]) -> None:
    """RecBole wraps them again for every run; after some hundred runs, printing exceeds the recursion limit."""
    streams = sys.stdout, sys.stderr
    train("BPR", tiny)
    assert (sys.stdout, sys.stderr) == streams


def test_the_log_names_only_settings_that_differ_from_their_defaults(tiny: dict[str, Any]) -> None:
    """In groups; every setting is in config.yaml."""
    run = train(
        "LightGCN", tiny, n_layers=1, reg_weight=1e-05, dtlns_alpha_structure=0.2, dtlns_alpha_semantic=0.3, eval_step=1
    )
    (text,) = logs("LightGCN")
    head = "LightGCN on tiny, preset clean; settings that differ from their defaults:"
    block = text.partition(head)[2].partition("INFO")[0]
    assert re.search(r"^  Training +epochs = 1, train_batch_size = 256$", block, re.MULTILINE)
    assert re.search(r"^  Evaluation +valid_metric = NDCG@10$", block, re.MULTILINE)
    assert re.search(r"^  Model, other +embedding_size = 16, n_layers = 1$", block, re.MULTILINE)
    assert re.search(r"^  DTL-NS +dtlns_alpha_structure = 0.2$", block, re.MULTILINE)
    assert not {"reg_weight", "dtlns_alpha_semantic", "eval_step", "learning_rate"} & set(re.findall(r"\w+", block))
    assert "learning_rate: 0.001" in (run.folder / "config.yaml").read_text()


def test_what_a_run_goes_on_from_stands_with_the_run(tiny: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    folder = train("BPR", tiny, epochs=2).folder
    with caplog.at_level(logging.INFO):
        train("BPR", tiny, epochs=1, resume_from=str(folder))
    assert re.search(rf"^  Run +.*resume_from = {re.escape(str(folder))}", caplog.text, re.MULTILINE)
    assert "epochs is 1, and the run resumed from had as many; nothing is left to train" in caplog.text


def test_unknown_keys_are_the_last_that_is_said_before_training(tiny: dict[str, Any]) -> None:
    train("BPR", tiny, my_own_setting=3)
    (text,) = logs("BPR")
    lines = [line for line in text.splitlines() if line.strip()]
    (place,) = [number for number, line in enumerate(lines) if "documented neither by RecBole" in line]
    assert "'my_own_setting'" in lines[place] and "WARNING" in lines[place]
    assert "epoch 0" in lines[place + 1] and "Trainable parameters" in lines[place - 1]


@pytest.mark.parametrize(("state", "speaks"), [("info", True), ("ERROR", False)])
def test_recboles_key_state_sets_how_much_is_written(state: str, speaks: bool, tiny: dict[str, Any]) -> None:
    train("BPR", tiny, state=state)
    assert bool(logs("BPR")[0]) == speaks


class Otherwise(BPR):
    """Scores otherwise than the class it inherits from."""

    def predict(self, interaction: Any) -> torch.Tensor:
        return super().predict(interaction).tanh()


@pytest.mark.parametrize("sampler", ["dns", "srns"])
def test_scoring_by_predict_is_said_once_in_every_run(sampler: str, tiny: dict[str, Any]) -> None:
    """However many epochs, and models of past epochs, find out that the two ways of scoring differ."""
    for seed in (1, 2):
        train(Otherwise, tiny, dtlns_sampler=sampler, epochs=3, learning_rate=0.5, seed=seed)
    train("BPR", tiny, dtlns_sampler=sampler, epochs=3, learning_rate=0.5)
    told = [text.count("candidates are scored by predict") for text in (*logs("Otherwise"), *logs("BPR"))]
    assert told == [1, 1, 0]
