"""A learning rate that falls, and averaged weights: what each epoch is trained at, and what is evaluated and saved."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from test_resume import weights
from tiny_runs import PLAIN, same_tensors, train

from recbole_dtlns.bridge.training.trainer import DTLNSTrainerMixin
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.training.averaged_weights import AveragedWeights
from recbole_dtlns.training.checkpoint import Checkpoint
from recbole_dtlns.training.learning_rate import set_learning_rates
from recbole_dtlns.training.tensor_file import load_tensors

LINEAR = {"dtlns_learning_rate_decay": "linear"}
AVERAGED = {"dtlns_average_weights": 0.9}


def rates_of(model: str, keys: dict[str, Any]) -> tuple[Any, list[float]]:
    """A run, and the rate of every epoch."""
    original, rates = DTLNSTrainerMixin._prepare_optimizers, []

    def prepared(self: Any, epoch: int) -> None:
        original(self, epoch)
        rates.append(self.optimizer.param_groups[0]["lr"])

    with mock.patch.object(DTLNSTrainerMixin, "_prepare_optimizers", prepared):
        return train(model, keys), rates


@pytest.mark.parametrize("preset", ["off", "clean"])
def test_the_rate_falls_linearly_over_the_epochs(preset: str, tiny: dict[str, Any]) -> None:
    """And goes on where it was when the run is resumed."""
    keys = {**tiny, **LINEAR, "dtlns_preset": preset, "learning_rate": 0.04, "epochs": 4}
    run, rates = rates_of("BPR", keys)
    assert rates == pytest.approx([0.04, 0.03, 0.02, 0.01])
    (run.folder / "last.pth").write_bytes((run.folder / "best.pth").read_bytes())
    done = Checkpoint.read(run.folder / "best.pth").epoch + 1
    _, again = rates_of("BPR", {**keys, "resume_from": str(run.folder)})
    assert again == rates[done:]


def test_no_decay_leaves_optimizers_as_they_are() -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    before = optimizer.state_dict()
    set_learning_rates([optimizer], "none", 3, 10)
    assert optimizer.state_dict() == before
    set_learning_rates([optimizer], "linear", 5, 10)
    assert optimizer.param_groups[0]["lr"] == 0.25
    set_learning_rates([optimizer], "none", 6, 10)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_the_average_is_its_formula() -> None:
    """Decays of (1 + t) / (10 + t) until the given one is reached."""
    model = torch.nn.Linear(1, 1, bias=False)
    averages = AveragedWeights(model, 0.3)
    expected = model.weight.item()
    for step, value in enumerate([1.0, -2.0, 5.0, 3.0, 0.5], start=1):
        with torch.no_grad():
            model.weight.fill_(value)
        averages.add()
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with averages.in_place():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 0.5


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "NeuMF"])
def test_the_average_is_evaluated_and_saved_and_training_is_as_without(model: str, tiny: dict[str, Any]) -> None:
    keys = {**tiny, **PLAIN, "epochs": 3, "learning_rate": 0.01}
    plain, averaged = train(model, keys), train(model, {**keys, **AVERAGED})
    saved = load_tensors(averaged.folder / "last.pth")
    trained = load_tensors(plain.folder / "last.pth")["state_dict"]
    assert same_tensors({name: trained[name] for name in saved["averaged"]["weights"]}, saved["averaged"]["weights"])
    assert not same_tensors(saved["state_dict"], trained)
    assert saved["averaged"]["steps"] == 3 * len(averaged.data.train_loader)
    best = weights(averaged.folder, "best.pth")
    averaged.trainer.model.load_state_dict(best)
    again = averaged.trainer.evaluate(averaged.data.valid_loader, load_best_model=False)
    assert again == averaged.result["best_valid_result"]


def test_without_saving_the_average_is_evaluated(tiny: dict[str, Any]) -> None:
    keys = {**tiny, **PLAIN, **AVERAGED, "epochs": 3, "learning_rate": 0.05}
    run = train("BPR", keys, saved=False)
    last = train("BPR", keys, eval_step=3)
    assert run.result["test_result"] == last.result["test_result"]


@pytest.mark.parametrize("model", ["BPR", "RecVAE"])
@pytest.mark.parametrize("resumed", ["last.pth", "best.pth"])
def test_two_and_three_epochs_equal_five(model: str, resumed: str, tiny: dict[str, Any]) -> None:
    """RecVAE has two optimizers, in turns."""
    keys = {**tiny, **PLAIN, **AVERAGED, "learning_rate": 0.01}
    whole = train(model, keys, epochs=5)
    first = train(model, keys, epochs=2)
    second = train(model, keys, epochs=5, resume_from=str(first.folder / resumed))
    assert second.result["test_result"] == whole.result["test_result"]
    for file in ("last.pth", "best.pth"):
        one, other = (load_tensors(run.folder / file) for run in (whole, second))
        assert all(same_tensors(one[part], other[part]) for part in ("state_dict", "averaged", "optimizers"))


def test_averages_begin_and_end_where_a_resumed_run_says_so(tiny: dict[str, Any]) -> None:
    """Without them, training goes on from the weights behind the averages."""
    keys = {**tiny, **PLAIN, "learning_rate": 0.01}
    plain, averaged = (train("BPR", {**keys, **more}, epochs=2).folder for more in ({}, AVERAGED))
    ended = train("BPR", keys, epochs=4, resume_from=str(averaged / "last.pth"))
    assert same_tensors(weights(ended.folder), weights(train("BPR", keys, epochs=4).folder))
    begun = train("BPR", {**keys, **AVERAGED}, epochs=4, resume_from=str(plain))
    assert load_tensors(begun.folder / "last.pth")["averaged"]["steps"] == 2 * len(begun.data.train_loader)


@pytest.mark.parametrize("value", [1.0, -0.1])
def test_impossible_averages_are_refused(value: float, tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="dtlns_average_weights"):
        train("BPR", tiny, dtlns_average_weights=value)
