"""Refitting: validation chooses the epoch, then train and validation together are trained on for as many.

The first tests are about the rule above all others: what validation holds enters the refit alone, and test nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from block_data import block_pairs, split_pairs
from test_protocol_rule import artefact_files
from tiny_runs import (
    PLAIN,
    RELABEL_ALL,
    Run,
    as_set,
    observed,
    per_user,
    plain_recbole_loaders,
    relabelled,
    same_tensors,
    train,
    used_pairs,
    write_tiny,
)

from recbole_dtlns import load_run, prepare_only
from recbole_dtlns.bridge import runner
from recbole_dtlns.bridge.refit import VALIDATED, carry_validated
from recbole_dtlns.bridge.training.trainer import DTLNSTrainerMixin
from recbole_dtlns.errors import CheckpointError, ConfigError
from recbole_dtlns.training.checkpoint import BEST, LAST, Checkpoint

REFIT = {"refit": True}


def weights(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)["state_dict"]


def swapped(part: Any) -> Any:
    """As many pairs of the same users and items, others than before."""
    return part[0], np.roll(part[1], 7)


# --- the protocol ---


@pytest.mark.parametrize("teacher", ["EASE", "BPR"])
def test_no_artefact_of_a_refit_depends_on_test_pairs(teacher: str) -> None:
    train_part, valid, test = split_pairs(*block_pairs())
    settings = {**RELABEL_ALL, **REFIT, "epochs": 2, "dtlns_teacher": teacher, "dtlns_teacher_epochs": 2}
    runs = [
        train("LightGCN", write_tiny(name, (train_part, valid, part)), **settings, dtlns_cache_dir=f"cache-{name}")
        for name, part in (("first", test), ("second", swapped(test)))
    ]
    files = artefact_files("cache-first")
    assert files and files == artefact_files("cache-second")
    for name in (BEST, f"{VALIDATED}/{BEST}"):
        assert same_tensors(*(weights(run.folder / name) for run in runs))


def test_validation_pairs_enter_the_refit_alone() -> None:
    """Without a refit the stages keep what they keep from train alone; with one, that and what it makes anew."""
    train_part, valid, test = split_pairs(*block_pairs())
    settings = {**RELABEL_ALL, "dtlns_judge": "calibrated"}
    kept = {}
    for name, part, refit in (("plain", valid, False), ("refit", valid, True), ("other", swapped(valid), True)):
        keys = write_tiny(name, (train_part, part, test))
        train("LightGCN", keys, **settings, refit=refit, dtlns_cache_dir=f"cache-{name}")
        kept[name] = artefact_files(f"cache-{name}")
    assert kept["plain"].items() < kept["refit"].items()
    assert kept["refit"].items() & kept["other"].items() == kept["plain"].items()
    assert len(kept["refit"]) == len(kept["other"]) > len(kept["plain"])


def test_the_model_that_validation_chose_is_that_of_a_run_without_a_refit(tiny: dict[str, Any]) -> None:
    settings = {**tiny, **RELABEL_ALL, "epochs": 3}
    plain, refit = train("LightGCN", settings), train("LightGCN", settings, **REFIT)
    assert same_tensors(weights(plain.folder / BEST), weights(refit.folder / VALIDATED / BEST))
    for key in ("best_valid_score", "best_valid_result"):
        assert refit.result[key] == plain.result[key]


def test_the_evaluation_mask_of_a_refit_is_that_of_plain_recbole(tiny: dict[str, Any]) -> None:
    run = train("LightGCN", tiny, **RELABEL_ALL, **REFIT)
    positives, forbidden = map(as_set, relabelled(run))
    _, _, plain = plain_recbole_loaders("LightGCN", "tiny", tiny)
    ours = run.data.test_loader
    assert per_user(ours.uid2history_item) == per_user(plain.uid2history_item)
    assert per_user(ours.uid2positive_item) == per_user(plain.uid2positive_item)
    parts = [observed(loader._dataset) for loader in (run.data.train_loader, ours)]
    assert used_pairs(run.data.train_loader._sampler) == parts[0]
    assert used_pairs(ours._sampler) == parts[0] | parts[1]
    assert positives and positives <= forbidden and not forbidden & parts[0]
    assert positives & parts[1], "no pseudo-positive is a test positive: the test would show nothing"


def test_test_is_read_once_and_by_the_refit_model_alone(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    evaluate = DTLNSTrainerMixin.evaluate

    def noted(self: Any, data: Any, *arguments: Any, **named: Any) -> Any:
        asked.append((self.provenance.refit, data._dataset))
        return evaluate(self, data, *arguments, **named)

    monkeypatch.setattr(DTLNSTrainerMixin, "evaluate", noted)
    run = train("BPR", tiny, **REFIT)
    test = run.data.test_loader._dataset
    assert [refit for refit, part in asked if part is test] == [True]
    assert [refit for refit, part in asked if part is not test] == [False], "validation, of the model on train"


def test_a_leaking_protocol_is_not_refitted(tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"refit.*authors"):
        train("BPR", tiny, dtlns_preset="authors", **REFIT)


# --- what is trained ---


def both(keys: dict[str, Any]) -> dict[str, Any]:
    """The same data with the validation pairs in train too: what a refit trains on, by hand."""
    home = Path(keys["data_path"], "tiny")
    rows = (home / "tiny.valid.inter").read_text().splitlines()[1:]
    with (home / "tiny.train.inter").open("a") as file:
        file.write("\n".join([*rows, ""]))
    return keys


@pytest.mark.parametrize("model", ["LightGCN", "NeuMF", "EASE"])
@pytest.mark.parametrize("settings", [PLAIN, RELABEL_ALL], ids=["plain", "relabelling"])
def test_it_is_a_run_on_train_and_validation_of_as_many_epochs(
    model: str, settings: dict[str, Any], tiny: dict[str, Any]
) -> None:
    keys = {**tiny, **(settings if model != "EASE" else PLAIN), "learning_rate": 0.01}
    keys.pop("dtlns_relabel_graph" if model == "NeuMF" else "", None)
    refit = train(model, keys, **REFIT, epochs=4)
    chosen = Checkpoint.read(refit.folder / VALIDATED / BEST).epoch + 1
    assert refit.result["refit"]["epochs"] == chosen
    by_hand = train(model, {**keys, **both(tiny)}, epochs=chosen, eval_step=0)
    assert same_tensors(weights(refit.folder / BEST), weights(by_hand.folder / BEST))
    assert refit.result["refit"]["test_result"] == by_hand.result["test_result"]


def test_the_learning_rate_falls_as_it_did_for_the_epoch_that_was_chosen(tiny: dict[str, Any]) -> None:
    """By the number of epochs that the run was given, not by those that the refit has."""
    keys = {**tiny, "dtlns_learning_rate_decay": "linear", "dtlns_average_weights": 0.9, "learning_rate": 0.01}
    refit = train("BPR", keys, epochs=10, refit=4)
    assert refit.trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * (1 - 3 / 10))
    assert refit.result["refit"]["epochs"] == 4
    validated = train("BPR", keys, epochs=10)
    assert validated.trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * (1 - 9 / 10))


def test_a_number_of_epochs_needs_no_validation(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, epochs=5, refit=3)
    assert not (run.folder / VALIDATED).exists()
    assert (run.result["best_valid_score"], run.result["best_valid_result"]) == (None, None)
    assert [epoch.valid for epoch in Checkpoint.read(run.folder / BEST).curve] == [None] * 3


# --- what is written ---


def test_the_result_says_which_model_each_figure_is_of(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, **REFIT, epochs=2)
    result = json.loads((run.folder / "result.json").read_text())
    assert result["test_result"] is None, "the model that validation chose is not measured on test"
    assert set(result["refit"]) == {"epochs", "train_pairs", "test_result"}
    assert result["refit"]["test_result"].keys() == result["best_valid_result"].keys()
    assert result["refit"]["train_pairs"] == len(observed(run.data.train_loader._dataset))
    assert Checkpoint.read(run.folder / BEST).best_valid_result == {}


def test_an_ordinary_run_has_no_such_section(tiny: dict[str, Any]) -> None:
    assert "refit" not in train("BPR", tiny).result


def test_the_folder_is_that_of_the_refit_model(tiny: dict[str, Any]) -> None:
    run = train("LightGCN", tiny, **PLAIN, **REFIT, epochs=2)
    found, validated = load_run(run.folder), load_run(run.folder / VALIDATED)
    assert (found.refit, validated.refit) == (True, False)
    assert found.metrics == {"valid": None, "test": run.result["refit"]["test_result"]}
    assert validated.metrics == {"valid": run.result["best_valid_result"], "test": None}
    rankings = run.trainer.rank(run.data.test_loader, 5)
    users = run.train.id2token("user_id", rankings.users)
    for one in (found, validated):  # what is left out is what test leaves out, whatever was trained on
        best = one.recommend(users, 5, "evaluation")
        for user, items in best:
            assert not {item for item, _ in items} & known(run, user)
    np.testing.assert_allclose(found.recommend(users, 5, "evaluation").scores, rankings.scores, rtol=1e-5)
    assert found.history(users[0]) == validated.history(users[0])


def known(run: Run, user: str) -> set[str]:
    data = run.data.train_loader._dataset
    place = data.token2id("user_id", user)
    return {data.id2token("item_id", item) for owner, item in observed(data) if owner == place}


# --- interrupted ---


class Killed(BaseException):
    """Stands for a signal that nothing answers."""


def killed_after(saves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends when as many checkpoints are written."""
    write = Checkpoint.write
    written = []

    def counted(self: Checkpoint, path: Path) -> None:
        write(self, path)
        written.append(path)
        if len(written) == saves:
            raise Killed

    monkeypatch.setattr(Checkpoint, "write", counted)


@pytest.mark.parametrize("saves", range(1, 8))
def test_a_refit_that_was_killed_goes_on_with_the_stage_under_way(
    saves: int, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two checkpoints an epoch with validation, one in the refit, and its last one."""
    settings = {**tiny, **REFIT, "epochs": 2, "learning_rate": 0.01}
    whole = train("BPR", settings, checkpoint_dir="whole")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_after(saves, patch)
        train("BPR", settings)
    (folder,) = Path("saved").iterdir()
    if not (folder / BEST).exists():
        with pytest.raises(CheckpointError, match=r"refit of .* is not finished|holds no best.pth"):
            load_run(folder)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    trained = []
    with monkeypatch.context() as patch:
        epoch = DTLNSTrainerMixin._train_epoch

        def noted(self: Any, data: Any, number: int, *arguments: Any, **named: Any) -> Any:
            trained.append((self.provenance.refit, number))
            return epoch(self, data, number, *arguments, **named)

        patch.setattr(DTLNSTrainerMixin, "_train_epoch", noted)
        again = train("BPR", settings, resume_from=str(folder))
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    for key in ("best_valid_score", "best_valid_result", "refit"):
        assert again.result[key] == whole.result[key]
    for name in (BEST, f"{VALIDATED}/{BEST}"):
        assert same_tensors(weights(again.folder / name), weights(whole.folder / name))
    if any((folder / name).exists() for name in (LAST, BEST)):
        assert all(refit for refit, _ in trained), "the stage that was finished is not trained again"
    assert len(trained) == [3, 3, 3, 2, 1, 0, 0][saves - 1]


def test_an_interrupted_preparation_of_the_refit_says_what_to_go_on_with(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What validation chose is not trained again."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runner, "assemble_refit", interrupted)
        train("BPR", {**tiny, **REFIT})
    (folder,) = Path("saved").iterdir()
    assert caplog.messages[-1] == f"stopped in training: go on with --resume_from={folder}"
    monkeypatch.setattr(DTLNSTrainerMixin, "_valid_epoch", interrupted)
    assert train("BPR", {**tiny, **REFIT}, resume_from=str(folder)).result["refit"]["epochs"] == 1


def test_the_finished_stage_is_carried_over_with_its_latest_checkpoint(empty_folder: Path) -> None:
    """Without it, a run that is killed before its refit saves anything would go on from the best epoch."""
    begun = empty_folder / "begun"
    begun.mkdir()
    for name in (BEST, LAST, "config.yaml", ".best.pth.1234"):
        (begun / name).write_text(name)
    carry_validated(begun, empty_folder / "next")
    assert {file.name for file in (empty_folder / "next" / VALIDATED).iterdir()} == {BEST, LAST, "config.yaml"}


def test_a_folder_among_what_is_carried_over_stays_and_what_cannot_be_read_is_named(empty_folder: Path) -> None:
    begun = empty_folder / "begun"
    (begun / "notes").mkdir(parents=True)
    carry_validated(begun, empty_folder / "next")
    (begun / LAST).symlink_to("nowhere")
    with pytest.raises(CheckpointError, match=rf"cannot read {begun / LAST} \(No such file.*take it from a copy"):
        carry_validated(begun, empty_folder / "next")


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(bytes(1000))])
def test_a_refit_without_the_epoch_that_was_chosen_says_so_before_any_work(
    damage: Callable[[Path], Any], tiny: dict[str, Any]
) -> None:
    folder = train("BPR", tiny, **REFIT).folder
    damage(folder / VALIDATED / BEST)
    message = rf"refit in {folder} cannot go on.*{folder / VALIDATED / BEST}.*set refit to the number of epochs"
    with pytest.raises(CheckpointError, match=message):
        train("BPR", tiny, **REFIT, resume_from=str(folder))
    assert list(Path("saved").iterdir()) == [folder]
    assert train("BPR", tiny, refit=1, resume_from=str(folder)).result["refit"]["epochs"] == 1


@pytest.mark.parametrize("model", ["BPR", "EASE"])
def test_a_refit_by_an_empty_validation_part_is_refused(model: str) -> None:
    """It would train on the same pairs twice, and for as many epochs as nothing chose."""
    train_part, _, test = split_pairs(*block_pairs())
    keys = write_tiny("data", (train_part, (test[0][:0], test[1][:0]), test))
    with pytest.raises(ConfigError, match="the validation part is empty: leave refit out"):
        train(model, keys, **PLAIN, **REFIT)
    assert train(model, keys, **PLAIN, refit=1).result["refit"]["epochs"] == 1


def test_a_finished_run_can_be_refitted_later(tiny: dict[str, Any]) -> None:
    settings = {**tiny, "epochs": 3, "learning_rate": 0.01}
    ordinary = train("BPR", settings)
    later, at_once = train("BPR", settings, **REFIT, resume_from=str(ordinary.folder)), train("BPR", settings, **REFIT)
    assert same_tensors(weights(later.folder / BEST), weights(at_once.folder / BEST))
    assert later.result["refit"] == at_once.result["refit"]


def test_a_refit_is_not_continued_as_an_ordinary_run(tiny: dict[str, Any]) -> None:
    refit = train("BPR", tiny, **REFIT)
    with pytest.raises(CheckpointError, match="refit"):
        train("BPR", tiny, epochs=2, resume_from=str(refit.folder))


def test_without_validation_pairs_among_its_own_a_run_cannot_be_taught_by_a_refit(tiny: dict[str, Any]) -> None:
    refit = train("BPR", tiny, **REFIT)
    taught = {"dtlns_teacher": "checkpoint", "dtlns_teacher_checkpoint": str(refit.folder / BEST)}
    with pytest.raises(CheckpointError, match="other train pairs"):
        train("LightGCN", tiny, **taught)
    train("LightGCN", tiny, **taught, refit=1)


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eval_step": 0}, "refit: True.*eval_step"),
        ({"refit": 9}, "refit: 9.*epochs"),
        ({"refit": 0}, "refit: .*1"),
        ({"refit": "yes please"}, "refit"),
        ({"dtlns_teacher": "checkpoint", "dtlns_teacher_checkpoint": "x.pth"}, "refit: True.*checkpoint"),
    ],
)
def test_what_cannot_be_refitted_is_refused_before_any_work(
    settings: dict[str, Any], message: str, tiny: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=message):
        train("BPR", tiny, **{**REFIT, "epochs": 2, **settings})
    assert not Path("saved").exists()


def test_without_saving_there_is_no_epoch_to_read(tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"refit: True.*saved"):
        train("BPR", tiny, **REFIT, saved=False)
    assert train("BPR", tiny, saved=False, refit=1).result["refit"]["epochs"] == 1


def test_a_preparation_for_a_refit_is_what_the_refit_finds(tiny: dict[str, Any]) -> None:
    settings = {**tiny, **RELABEL_ALL, "refit": 1}
    prepare_only("LightGCN", "tiny", config_dict=settings)
    before = artefact_files("cache")
    train("LightGCN", settings)
    assert before and artefact_files("cache") == before
