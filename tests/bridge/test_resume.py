"""Checkpoints: plain data that continues exactly."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from recbole.trainer import Trainer
from tiny_runs import FORKS, PLAIN, same_tensors, train

from recbole_dtlns.errors import CheckpointError
from recbole_dtlns.storage.whole_files import replacing
from recbole_dtlns.training.checkpoint import Checkpoint
from recbole_dtlns.training.tensor_file import from_plain, load_tensors, save_tensors, to_plain

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


@FORKS
@pytest.mark.parametrize(
    ("settings", "first", "last"),
    [({"eval_step": 0}, 2, 5), ({"eval_step": 2}, 3, 6), ({"worker": 2}, 2, 4)],
    ids=["no validation", "validation every second epoch", "workers"],
)
def test_any_rhythm_of_validation_continues(
    settings: dict[str, Any], first: int, last: int, tiny: dict[str, Any]
) -> None:
    """Without validation RecBole saves every epoch; with a rarer one, epochs after the last are trained again."""
    settings = {**tiny, **settings}
    begun = train("NeuMF", settings, epochs=first)
    continued = train("NeuMF", settings, epochs=last, resume_from=str(begun.folder))
    whole = train("NeuMF", settings, epochs=last)
    assert continued.result["test_result"] == whole.result["test_result"]
    assert same_tensors(weights(continued.folder, "best.pth"), weights(whole.folder, "best.pth"))


def test_the_run_resumed_from_is_not_written_to(tiny: dict[str, Any]) -> None:
    begun = train("BPR", tiny, epochs=1).folder
    before = {file.name: file.read_bytes() for file in begun.iterdir()}
    train("BPR", tiny, epochs=3, resume_from=str(begun))
    assert {file.name: file.read_bytes() for file in begun.iterdir()} == before


def test_no_epoch_at_all_evaluates_and_saves_the_model_as_it_starts(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, epochs=0)
    assert set(run.result["test_result"]) >= {"ndcg@10"}
    assert same_tensors(weights(run.folder, "best.pth"), dict(run.trainer.model.state_dict()))


def test_without_saving_the_last_epoch_is_evaluated(tiny: dict[str, Any]) -> None:
    """As in RecBole's `run_recbole(saved=False)`."""
    run = train("BPR", tiny, epochs=3, saved=False)
    assert not list(run.folder.glob("*.pth"))
    assert run.trainer.evaluate(run.data.test_loader, load_best_model=False) == run.result["test_result"]


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
    run = train(model, {**tiny, **PLAIN})
    assert run.result["test_result"]["ndcg@10"] > 0
    network, evaluate = run.trainer.model, run.trainer.evaluate
    fitted = network.other_parameter()
    assert any(sp.issparse(value) for value in fitted.values())
    network.load_other_parameter({name: 0 * value for name, value in fitted.items()})
    assert evaluate(run.data.test_loader, load_best_model=False) != run.result["test_result"]
    assert evaluate(run.data.test_loader, load_best_model=True) == run.result["test_result"]
    for name, value in network.other_parameter().items():
        assert type(value) is type(fitted[name]) and value.dtype == fitted[name].dtype


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "dok"])
def test_plain_data_comes_back_as_it_was(kind: str) -> None:
    matrix = sp.random(5, 4, density=0.5, format=kind, dtype="float32", random_state=0)
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    value = {"matrix": matrix, "array": array, "deep": [{"count": np.int64(3)}, (None, "text", torch.ones(2))]}
    path = Path("plain.pth")
    save_tensors(path, {"value": to_plain(value)})
    back = from_plain(load_tensors(path)["value"])
    assert type(back["matrix"]) is type(matrix) and (back["matrix"] != matrix).nnz == 0
    assert back["array"].dtype == array.dtype and (back["array"] == array).all()
    assert same_tensors(back["deep"], [{"count": 3}, [None, "text", torch.ones(2)]])


def test_recboles_own_checkpoints_are_refused_with_the_reason(tiny: dict[str, Any]) -> None:
    """Written by RecBole's own code; torch cannot read them without running what is in them."""
    run = train("BPR", tiny)
    path = Path("recbole.pth").resolve()
    Trainer._save_checkpoint(run.trainer, 0, saved_model_file=str(path))
    with pytest.raises(CheckpointError, match=r"pickled objects, as RecBole's own.*Train the model again"):
        train("BPR", tiny, epochs=2, resume_from=str(path))


def test_another_learner_is_refused(tiny: dict[str, Any]) -> None:
    folder = train("BPR", tiny).folder
    with pytest.raises(CheckpointError, match="learner: adam, whose state sgd cannot take"):
        train("BPR", tiny, epochs=2, learner="sgd", resume_from=str(folder))


def test_another_learning_rate_is_said_to_be_ignored(tiny: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    folder = train("BPR", tiny).folder
    run = train("BPR", tiny, epochs=2, learning_rate=0.5, resume_from=str(folder))
    assert run.trainer.optimizer.param_groups[0]["lr"] == 0.001
    assert "learning_rate stays 0.001" in caplog.text


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


def tampered(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """As somebody would do it who loads the file with torch and saves it again."""

    def apply(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    return apply


def zeroed(path: Path) -> None:
    """4 KiB of the item embedding."""
    weights = torch.load(path, weights_only=True)["state_dict"]["item_embedding.weight"].numpy().tobytes()
    content = path.read_bytes()
    assert weights in content
    path.write_bytes(content.replace(weights[:4096], bytes(4096)))


def flipped(at: Callable[[bytes], int]) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at(content)] ^= 1
        path.write_bytes(content)

    return apply


DAMAGE: dict[str, Callable[[Path], object]] = {
    "zeroed weights": zeroed,
    "emptied": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "without its last byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "a bit of its plain data": flipped(lambda content: content.index(b"best_valid_score") + 20),
    "a bit of its first header": flipped(lambda content: 5),
    "a bit of its table of contents": flipped(lambda content: content.rindex(b"PK\1\2") + 20),
    "a bit of its checksum": flipped(lambda content: len(content) - 1),
    "a bit of the mark of its checksum": flipped(lambda content: content.rindex(b"sha256")),
    "another file": lambda path: path.write_text("no checkpoint at all"),
    "another epoch, saved with torch": tampered(lambda content: content.update(epoch=0)),
    "scaled weights, saved with torch": tampered(
        lambda content: content["state_dict"]["item_embedding.weight"].mul_(1.5)
    ),
}


def test_damage_to_any_byte_of_a_checkpoint_is_noticed(tiny: dict[str, Any]) -> None:
    """And torch's advice to trust such files is not repeated."""
    path = train("BPR", tiny, embedding_size=64).folder / "last.pth"
    whole = path.read_bytes()
    for kind, damage in DAMAGE.items():
        path.write_bytes(whole)
        damage(path)
        with pytest.raises(CheckpointError, match=r"last\.pth is damaged.*delete it, and resume from another") as found:
            print(kind, Checkpoint.read(path).epoch)
        assert "weights_only" not in str(found.value), kind


@pytest.mark.parametrize("name", ["best.pth", "last.pth"])
def test_a_damaged_checkpoint_neither_goes_on_nor_teaches(name: str, tiny: dict[str, Any]) -> None:
    folder = train("BPR", tiny, embedding_size=64).folder
    zeroed(folder / name)
    with pytest.raises(CheckpointError, match=f"{name} is damaged"):
        train("BPR", tiny, epochs=2, embedding_size=64, resume_from=str(folder))
    taught = {"dtlns_teacher": "checkpoint", "dtlns_teacher_checkpoint": str(folder / name)}
    with pytest.raises(CheckpointError, match=f"{name} is damaged"):
        train("BPR", tiny, **taught)


def test_the_best_model_of_another_run_is_not_carried_on(tiny: dict[str, Any]) -> None:
    """Test would be measured on a model that this run never was."""
    first, second = (Path(train("BPR", tiny, **PLAIN, epochs=2, seed=seed).folder) for seed in (1, 2))
    (first / "best.pth").write_bytes((second / "best.pth").read_bytes())
    with pytest.raises(CheckpointError, match=r"best\.pth and .*last\.pth are not of the same run"):
        train("BPR", tiny, **PLAIN, epochs=3, seed=1, resume_from=str(first))


def test_a_damaged_best_model_is_not_evaluated(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, embedding_size=64)
    zeroed(run.folder / "best.pth")
    with pytest.raises(CheckpointError, match=r"best\.pth is damaged"):
        run.trainer.evaluate(run.data.test_loader)


def test_a_checkpoint_of_an_earlier_version_is_continued_with_a_warning(
    tiny: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder = train("BPR", tiny, embedding_size=64).folder
    for name in ("best.pth", "last.pth"):
        tampered(lambda content: (content.update(format=1), content.pop("curve")))(folder / name)
    train("BPR", tiny, epochs=2, embedding_size=64, resume_from=str(folder))
    assert "last.pth holds no checksum, as version 0.1 wrote it" in caplog.text
    zeroed(folder / "last.pth")
    with pytest.raises(CheckpointError, match=r"last\.pth is damaged"):
        Checkpoint.read(folder / "last.pth")


def test_a_checkpoint_without_a_run_is_refused(tiny: dict[str, Any]) -> None:
    save_tensors(Path("empty.pth"), {})
    with pytest.raises(CheckpointError, match=r"empty\.pth holds no run that could be continued.*state_dict.*missing"):
        train("BPR", tiny, resume_from="empty.pth")


def test_a_checkpoint_of_another_form_is_refused_and_what_is_wrong_in_it_named(tiny: dict[str, Any]) -> None:
    folder = train("BPR", tiny).folder
    save_tensors(folder / "last.pth", {**load_tensors(folder / "last.pth"), "epoch": "third"})
    with pytest.raises(CheckpointError, match=r"last\.pth was not written by this version.*epoch: .* valid integer"):
        train("BPR", tiny, epochs=2, resume_from=str(folder))


def test_weights_that_are_no_numbers_are_refused(tiny: dict[str, Any]) -> None:
    folder = train("BPR", tiny).folder
    content = load_tensors(folder / "best.pth")
    content["state_dict"]["user_embedding.weight"][0, 0] = float("nan")
    save_tensors(folder / "best.pth", content)
    for file in (folder, folder / "best.pth"):
        with pytest.raises(
            CheckpointError, match=r"weights user_embedding\.weight in .*best\.pth are NaN.*learning_rate"
        ):
            train("BPR", tiny, epochs=2, resume_from=str(file))


@pytest.mark.parametrize("named", ["", "last.pth"])
def test_a_run_that_ended_before_it_saved_anything_starts_again(
    named: str, tiny: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder = train("BPR", tiny).folder
    for file in folder.glob("*.pth"):
        file.unlink()
    again = train("BPR", tiny, epochs=2, resume_from=str(folder / named))
    assert "nothing was saved there yet. Starting at the beginning" in caplog.text
    whole = train("BPR", tiny, epochs=2)
    assert same_tensors(weights(again.folder), weights(whole.folder))


def test_a_folder_of_no_run_is_refused(tiny: dict[str, Any]) -> None:
    Path("elsewhere").mkdir()
    with pytest.raises(CheckpointError, match=r"elsewhere/best\.pth does not exist"):
        train("BPR", tiny, resume_from="elsewhere")


def test_what_a_kill_left_half_written_is_removed_when_the_run_goes_on(tiny: dict[str, Any]) -> None:
    folder = train("BPR", tiny).folder
    killed = folder / f".last.pth.{'0' * 16}"
    killed.write_bytes(b"half")
    (folder / ".last.pth.mine").touch()
    with replacing(folder / "best.pth") as living:  # another process goes on there
        train("BPR", tiny, epochs=2, resume_from=str(folder))
        assert not killed.exists()
        assert Path(living.name).exists()
    assert (folder / ".last.pth.mine").exists()
