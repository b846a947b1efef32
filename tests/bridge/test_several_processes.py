"""Two processes train the model that one trains: the same losses, metrics and weights, to rounding."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from processes import Children, hearing_ctrl_c, wait_for
from rated import RATED, write_rated
from recbole.model.general_recommender import BPR
from tiny_runs import FORKS, PLAIN, QUICK, RELABEL_ALL, TINY

from recbole_dtlns import run_recbole_dtlns
from recbole_dtlns.bridge import launching, runner
from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.launching import Group, run_on_several
from recbole_dtlns.bridge.training.shared_step import SharedStep
from recbole_dtlns.errors import ConfigError, DataError, ProcessError, UnsupportedModelError
from recbole_dtlns.training.checkpoint import Checkpoint
from recbole_dtlns.training.processes import Processes

TWO = Group(here=2, size=2, offset=0, ip="localhost", port=0, on_gpu=False)
SHAPE = {"epochs": 2, "train_batch_size": 150, "metric_decimal_place": 8}
NO_DROPOUT = {"dropout_prob": 0.0}
SEVERAL_NEGATIVES = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 2}}
ADDED = {**RELABEL_ALL, "dtlns_relabel_graph": False}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "BPR as RecBole trains it": ("BPR", PLAIN),
    "BPR, two negatives": ("BPR", {**PLAIN, **SEVERAL_NEGATIVES}),
    "BPR, rns": ("BPR", {"dtlns_sampler": "rns"}),
    "BPR, dns": ("BPR", {"dtlns_sampler": "dns"}),
    "BPR, mixgcf": ("BPR", {"dtlns_sampler": "mixgcf"}),
    "BPR, dens": ("BPR", {"dtlns_sampler": "dens"}),
    "BPR, dtlns with added rows": ("BPR", {"dtlns_sampler": "dtlns", **ADDED}),
    "BPR, sampled softmax": ("BPR", {"dtlns_sampler": "rns", "dtlns_loss": "sampled_softmax"}),
    "BPR, one row in the last batch": ("BPR", {"dtlns_sampler": "dns", "train_batch_size": "all but one"}),
    "BPR, clipped and averaged": ("BPR", {"clip_grad_norm": {"max_norm": 0.01}, "dtlns_average_weights": 0.9}),
    "BPR, sparse gradients": ("BPR", {"dtlns_sampler": "dns", "dtlns_sparse_gradients": True}),
    "BPR by lists": ("BPR", {"dtlns_preset": "best", "dtlns_loss": "listwise"}),
    "LightGCN as RecBole trains it": ("LightGCN", {**PLAIN, "reg_weight": 0.1}),
    "LightGCN, its power": ("LightGCN", {"dtlns_sampler": "rns", "require_pow": True, "reg_weight": 0.1}),
    "LightGCN, dns": ("LightGCN", {"dtlns_sampler": "dns", "reg_weight": 0.1}),
    "LightGCN, mixgcf": ("LightGCN", {"dtlns_sampler": "mixgcf", "reg_weight": 0.1}),
    "LightGCN, dtlns": ("LightGCN", {"dtlns_sampler": "dtlns", **RELABEL_ALL}),
    "NeuMF as RecBole trains it": ("NeuMF", {**PLAIN, **NO_DROPOUT}),
    "NeuMF, rns": ("NeuMF", {"dtlns_sampler": "rns", **NO_DROPOUT}),
    "NeuMF, dns": ("NeuMF", {"dtlns_sampler": "dns", **NO_DROPOUT}),
    "NeuMF, dtlns with added rows": ("NeuMF", {"dtlns_sampler": "dtlns", **ADDED, **NO_DROPOUT}),
    "SGL as RecBole trains it": ("SGL", PLAIN),
    "LightGCN, refitted": ("LightGCN", {"dtlns_sampler": "dns", "refit": True}),
    "BPR, batches made by workers": ("BPR", {"dtlns_sampler": "dns", "worker": 1}),
    "sampled evaluation": ("BPR", {**PLAIN, "eval_args": {"mode": "uni10"}, "eval_batch_size": 100}),
    "metrics that count": ("BPR", {**PLAIN, "metrics": ["NDCG", "ItemCoverage", "GiniIndex"]}),
}


class ComparesRows(BPR):
    """A loss that is no mean over rows: each is compared with the mean of its batch."""

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        scores = self.predict(interaction)
        return super().calculate_loss(interaction) + (scores - scores.mean()).square().mean()


class NormalisesRows(BPR):
    """Batch norm takes the mean of what rows a process sees."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.norm = torch.nn.BatchNorm1d(self.embedding_size)


REFUSED: dict[type, str] = {
    ComparesRows: "the loss of ComparesRows for a batch in 2 parts is another than for the whole",
    NormalisesRows: "NormalisesRows normalises by the mean of a batch's rows",
}


def keys_of(case: str, tiny: dict[str, Any]) -> dict[str, Any]:
    keys = {**QUICK, **SHAPE, **tiny, **CASES[case][1]}
    if keys["train_batch_size"] == "all but one":
        lines = (Path(tiny["data_path"]) / TINY / f"{TINY}.train.inter").read_text().splitlines()
        keys["train_batch_size"] = len(lines) - 2  # the first names the columns
    return keys


def trained(processes: Processes, runs: list[tuple[Any, dict[str, Any]]]) -> list[Any]:
    """The result of every run, or its error."""
    results: list[Any] = []
    for model, keys in runs:
        try:
            config = DTLNSConfig(model, TINY, config_dict=keys, processes=processes)
            results.append(runner._train_and_test(config, saved=True))
        except UnsupportedModelError as error:
            results.append(str(error))
    return results


def compare(alone: dict[str, Any], together: dict[str, Any]) -> None:
    one, two = (Checkpoint.read(Path(result["run_folder"]) / "last.pth") for result in (alone, together))
    assert [epoch.loss for epoch in two.curve] == pytest.approx([epoch.loss for epoch in one.curve], rel=1e-5)
    for name, weights in one.state_dict.items():
        assert torch.allclose(two.state_dict[name], weights, rtol=1e-3, atol=2e-5), name
    for part in ("best_valid_result", "test_result"):
        assert together[part] == (pytest.approx(alone[part], abs=1e-6) if alone[part] else None)
    if "refit" in alone:
        assert together["refit"]["test_result"] == pytest.approx(alone["refit"]["test_result"], abs=1e-6)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked process is there at once, where one of its own imports for seconds; on one thread it works."""
    monkeypatch.setattr(launching, "_START", "fork")


@FORKS
@pytest.mark.usefixtures("forked")
def test_two_processes_train_as_one(tiny: dict[str, Any]) -> None:
    keys = {**QUICK, **SHAPE, **tiny, "dtlns_sampler": "dns"}
    together = run_recbole_dtlns("BPR", TINY, config_dict={**keys, "nproc": 2})
    (log,), (_,) = Path("log/BPR").iterdir(), Path("saved").iterdir()
    assert log.read_text().count("epoch 1 training") == 1, "one process says it, and writes"
    compare(run_recbole_dtlns("BPR", TINY, config_dict=keys), together)


@FORKS
@pytest.mark.cluster
def test_every_kind_of_model_and_sampler_trains_as_one(tiny: dict[str, Any]) -> None:
    runs = [(CASES[case][0], keys_of(case, tiny)) for case in CASES]
    refused = [(model, {**QUICK, **SHAPE, **tiny, **PLAIN}) for model in REFUSED]
    together = run_on_several(trained, ([*runs, *refused],), TWO)
    faults = {}
    for case, (model, keys), result in zip(CASES, runs, together, strict=False):
        try:
            compare(run_recbole_dtlns(model, TINY, config_dict=keys), result)
        except (AssertionError, TypeError) as error:
            faults[case] = (str(error), result)
    assert faults == {}
    for message, said in zip(REFUSED.values(), together[len(CASES) :], strict=True):
        assert message in said


@FORKS
@pytest.mark.cluster
@pytest.mark.usefixtures("forked")
def test_a_run_goes_on_with_another_number_of_processes(tiny: dict[str, Any]) -> None:
    keys = {**QUICK, **SHAPE, **tiny, "dtlns_sampler": "mixgcf", "dtlns_average_weights": 0.9}
    whole = {**keys, "epochs": 4}
    half = run_recbole_dtlns("LightGCN", TINY, config_dict=keys)
    from_one = {**whole, "resume_from": half["run_folder"]}
    half_of_two, of_two = run_on_several(trained, ([("LightGCN", keys), ("LightGCN", from_one)],), TWO)
    of_one = run_recbole_dtlns("LightGCN", TINY, config_dict={**whole, "resume_from": half_of_two["run_folder"]})
    expected = run_recbole_dtlns("LightGCN", TINY, config_dict=whole)
    for resumed in (of_two, of_one):
        compare(expected, resumed)


def killed(processes: Processes, keys: dict[str, Any]) -> None:
    """Trains; the second process is killed in its fifth step."""
    mean, steps = Processes.mean, []

    def watched(self: Processes, values: torch.Tensor) -> torch.Tensor:
        steps.append(1)
        if processes.rank == 1 and len(steps) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return mean(self, values)

    with mock.patch.object(Processes, "mean", watched):
        runner._train_and_test(DTLNSConfig("BPR", TINY, config_dict=keys, processes=processes), saved=True)


def failing(processes: Processes, error: Exception) -> None:
    """One process fails, and the other waits for it."""
    if processes.rank == 1:
        raise error
    processes.wait()


@FORKS
@pytest.mark.cluster
@pytest.mark.usefixtures("forked")
def test_a_process_that_is_killed_ends_all(tiny: dict[str, Any]) -> None:
    with pytest.raises(ProcessError, match=r"one of 2, was ended by SIGKILL .* The others were ended too"):
        run_on_several(killed, ({**QUICK, **SHAPE, **tiny, **PLAIN},), TWO)
    assert not multiprocessing.active_children()


def interrupted(processes: Processes) -> None:
    """Ctrl-C, after which the first has something to say, as long as it is waited for."""
    if processes.rank == 0:
        os.kill(os.getppid(), signal.SIGINT)
        wait_for(Path("awaited").exists, "the end of the processes is waited for")
        Path("said").touch()
    raise KeyboardInterrupt


@FORKS
@pytest.mark.usefixtures("forked")
def test_ctrl_c_lets_the_processes_say_what_to_go_on_with(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = launching._wait_for

    def awaited(running: Any) -> None:
        Path("awaited").touch()
        wait(running)

    monkeypatch.setattr(launching, "_wait_for", awaited)
    with hearing_ctrl_c(), pytest.raises(KeyboardInterrupt):
        run_on_several(interrupted, (), TWO)
    assert Path("said").exists() and not multiprocessing.active_children()


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("end", "moment"),
    [(signal.SIGTERM, "epoch 1 training"), (signal.SIGKILL, "The number of users"), (signal.SIGKILL, "")],
)
def test_no_process_outlives_the_one_that_started_it(
    end: signal.Signals, moment: str, tiny: dict[str, Any], children: Children
) -> None:
    """Whether they train, or one prepares, and the other waits, or they have yet to import everything."""
    keys = {**QUICK, **tiny, "epochs": 10**6, "nproc": 2, "dtlns_sampler": "dns"}
    arguments = [f"--{key}={value}" for key, value in keys.items()]
    starter = children.command("train", "--model=BPR", f"--dataset={TINY}", *arguments)
    wait_for(lambda: moment in Path("log.txt").read_text(), moment, starter)
    wait_for(lambda: len(ranks_of(starter.pid)) == 2, "both are started", starter)
    ranks = ranks_of(starter.pid)
    starter.send_signal(end)
    starter.wait()
    wait_for(lambda: not any("spawn_main" in command_of(pid) for pid in ranks), "both have ended")


def ranks_of(starter: int) -> list[int]:
    return [pid for pid in processes_of(starter) if "spawn_main" in command_of(pid)]


def processes_of(parent: int) -> list[int]:
    """Its children."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def command_of(pid: int) -> str:
    """What a process was started with; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@FORKS
@pytest.mark.cluster
@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (DataError("rows have no user"), DataError, "^rows have no user$"),
        (ValueError("unforeseen"), ProcessError, "(?s)one of 2 processes failed.*in failing.*ValueError: unforeseen"),
    ],
)
def test_the_error_of_a_process_is_that_of_the_run(error: Exception, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        run_on_several(failing, (error,), TWO)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"nproc": 2, "dtlns_sampler": "srns"}, "dtlns_sampler: srns remembers items of every user"),
        ({"nproc": 2, "world_size": 1}, "nproc: 2 with group_offset: 0 are more than world_size: 1"),
        ({"nproc": 2, "world_size": 4}, "world_size: 4 is more than nproc: 2, so there are other machines: set ip"),
        ({"nproc": 2, "port": 70000}, "port: "),
        (
            {"nproc": 2, "ip": "no host"},
            "ip: no host cannot be looked up .*: set it to the address of the first machine",
        ),
    ],
)
def test_what_several_processes_cannot_do_is_refused_before_any_is_started(keys: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_recbole_dtlns("BPR", "no-such-data", config_dict=keys)


@pytest.mark.parametrize("model", ["FM", "DIN"])
def test_negatives_of_labelled_rows_are_refused_before_any_is_started(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are drawn for what is liked alone, so that the blocks of a batch are of no one size."""
    monkeypatch.setattr(runner, "run_on_several", None)
    with pytest.raises(UnsupportedModelError, match=r"nproc: 2 shares equal blocks .* leave nproc or the labels out"):
        cut = {"eval_args": {"mode": "labeled", "order": "TO"}} if model == "DIN" else {}
        run_recbole_dtlns(model, RATED, config_dict={**QUICK, **write_rated(), **cut, "nproc": 2})


@FORKS
@pytest.mark.cluster
@pytest.mark.usefixtures("forked")
def test_labels_are_learnt_and_measured_as_by_one() -> None:
    keys = {**QUICK, **write_rated(), **PLAIN, "metric_decimal_place": 8}
    together = run_recbole_dtlns("FM", RATED, config_dict={**keys, "nproc": 2})
    compare(run_recbole_dtlns("FM", RATED, config_dict=keys), together)


def test_what_trains_many_models_has_one_process_for_each() -> None:
    with pytest.raises(ConfigError, match="nproc is for `recbole-dtlns train`"):
        runner.assemble_run(DTLNSConfig("BPR", "no-such-data", config_dict={"nproc": 2}))


def test_groups_of_weights_with_norms_of_their_own_are_refused(tiny: dict[str, Any]) -> None:
    """A process without rows of some weight would not take part in that group's norm, and the others would wait."""
    keys = {**QUICK, **tiny, **ADDED, "dtlns_judge": "always", "dtlns_sampler": "rns"}

    def shared(model: str, weight: float) -> SharedStep:
        run = runner.assemble_run(DTLNSConfig(model, TINY, config_dict={**keys, "dtlns_relabel_weight": weight}))
        made = (run.trainer.model, run.data.train_loader, Processes(0, 2), lambda: run.trainer.model.calculate_loss)
        run.trainer.tensorboard.close()
        return SharedStep(*made, checked=True)

    with pytest.raises(UnsupportedModelError, match="SimpleX weighs the rows of added positives in groups"):
        shared("SimpleX", 0.3)
    for model, weight in (("SimpleX", 1.0), ("LightGCN", 0.3), ("NeuMF", 0.3)):
        shared(model, weight)


@given(st.integers(1, 40), st.integers(1, 9))
def test_shares_of_a_batch_are_its_rows_and_their_means_its_mean(n_rows: int, size: int) -> None:
    rows = np.arange(n_rows) + 0.5
    shares = [Processes(rank, size).share(n_rows) for rank in range(size)]
    assert all(len(rows[share.rows]) for share in shares), "a process without rows would not take part"
    taken = np.concatenate([rows[share.rows] for share in shares if share.weight])
    assert taken.tolist() == rows.tolist()
    assert np.mean([share.weight * rows[share.rows].mean() for share in shares]) == pytest.approx(rows.mean())


@given(st.integers(0, 40), st.integers(1, 9))
def test_batches_of_an_evaluation_are_taken_once_and_in_order(n_batches: int, size: int) -> None:
    of_rank = [
        [batch for batch in range(n_batches) if Processes(rank, size).takes(batch, n_batches)] for rank in range(size)
    ]
    assert [batch for batches in of_rank for batch in batches] == list(range(n_batches))
