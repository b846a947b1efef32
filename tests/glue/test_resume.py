"""Checkpoints: plain data that continues exactly."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import PLAIN, same_tensors, train

from recbole_dtlns.errors import CheckpointError

# NGCF draws dropout masks, so it shows whether the random state continues too.
MODELS = {"BPR": {}, "NGCF": {"hidden_size_list": [16], "node_dropout": 0.1, "message_dropout": 0.1}, "NeuMF": {}}


def weights(folder: str | Path, name: str = "last.pth") -> dict[str, torch.Tensor]:
    return torch.load(Path(folder) / name, weights_only=True)["state_dict"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("resumed", ["", "last.pth", "best.pth"])
def test_two_and_three_epochs_equal_five(model: str, resumed: str, tiny: dict[str, Any]) -> None:
    settings = {**tiny, **MODELS[model]}
    whole = train(model, settings, epochs=5).result
    first = train(model, settings, epochs=2).result
    second = train(model, settings, epochs=5, resume_from=str(Path(first["run_folder"]) / resumed)).result
    assert second["run_folder"] != first["run_folder"]
    for key in ("best_valid_score", "best_valid_result", "test_result"):
        assert second[key] == whole[key]
    assert same_tensors(weights(second["run_folder"]), weights(whole["run_folder"]))
    assert same_tensors(weights(second["run_folder"], "best.pth"), weights(whole["run_folder"], "best.pth"))


def test_early_stopping_counts_on_across_a_resume(tiny: dict[str, Any]) -> None:
    settings = {**tiny, "learning_rate": 0.5, "stopping_step": 2}  # so large that the score soon falls
    whole = train("BPR", settings, epochs=30)
    stopped_after = torch.load(whole.folder / "last.pth", weights_only=True)["epoch"]
    assert stopped_after < 29, "the run must stop early for this test to show anything"
    first = train("BPR", settings, epochs=stopped_after - 1).result
    second = train("BPR", settings, epochs=30, resume_from=first["run_folder"])
    assert torch.load(second.folder / "last.pth", weights_only=True)["epoch"] == stopped_after
    assert second.result["test_result"] == whole.result["test_result"]


def test_a_run_that_had_stopped_early_is_evaluated_again_and_not_trained(tiny: dict[str, Any]) -> None:
    settings = {**tiny, "learning_rate": 0.5, "stopping_step": 1}
    first = train("BPR", settings, epochs=30)
    again = train("BPR", settings, epochs=30, resume_from=str(first.folder))
    assert again.result["test_result"] == first.result["test_result"]
    assert not (again.folder / "last.pth").exists()


@pytest.mark.parametrize("model", ["EASE", "ItemKNN", "SLIMElastic"])
def test_closed_form_models_are_saved_with_their_matrices(model: str, tiny: dict[str, Any]) -> None:
    """Their scores live in sparse or dense matrices outside the state dict."""
    saved = train(model, {**tiny, **PLAIN}).result
    unsaved = train(model, {**tiny, **PLAIN}, saved=False).result
    assert saved["test_result"] == unsaved["test_result"]
    assert max(saved["test_result"].values()) > 0
    torch.load(Path(saved["run_folder"]) / "best.pth", weights_only=True)


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    foreign = folder / "foreign.pth"
    torch.save({"config": Path("x"), "state_dict": {}}, foreign)
    raw = folder / "raw.pth"
    raw.write_bytes(pickle.dumps(print))
    torn = folder / "torn.pth"
    torn.write_bytes((folder / "last.pth").read_bytes()[:-200])
    return {
        "missing": (folder / "nothing.pth", "does not exist"),
        "foreign": (foreign, "pickled objects|not written by"),
        "raw pickle": (raw, "pickled objects|damaged"),
        "torn": (torn, "damaged"),
    }


@pytest.mark.parametrize("case", ["missing", "foreign", "raw pickle", "torn"])
def test_files_that_cannot_be_continued_are_refused(case: str, tiny: dict[str, Any]) -> None:
    folder = train("BPR", tiny).folder
    path, message = broken_files(folder)[case]
    with pytest.raises(CheckpointError, match=message):
        train("BPR", tiny, epochs=2, resume_from=str(path))


def test_another_model_is_refused(tiny: dict[str, Any]) -> None:
    folder = train("BPR", tiny).folder
    with pytest.raises(CheckpointError, match="holds a BPR, this run trains LightGCN"):
        train("LightGCN", tiny, epochs=2, resume_from=str(folder))


def test_another_size_is_refused(tiny: dict[str, Any]) -> None:
    folder = train("BPR", tiny).folder
    with pytest.raises(CheckpointError, match="does not fit"):
        train("BPR", tiny, epochs=2, embedding_size=8, resume_from=str(folder))
