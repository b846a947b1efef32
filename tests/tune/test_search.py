"""Searches on real Ray: results, failures, a cluster that loses a node, a driver that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_dtlns import run_recbole_dtlns
from recbole_dtlns.errors import ConfigError, TrialError
from recbole_dtlns.glue.command_line import main

pytestmark = [pytest.mark.tune, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]

QUICK: dict[str, Any] = {"train_batch_size": 8192, "eval_batch_size": 400_000, "learning_rate": 0.01, "epochs": 3}
SPACE = {"dtlns_n_candidates": {"choice": [4, 8, 16]}, "dtlns_tree_leaf_size": {"choice": [20, 30]}}


@pytest.fixture(autouse=True)
def ray_for_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; make test-tune installs it")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


def search(**given: Any) -> Any:
    from recbole_dtlns import tune

    keys = {**QUICK, **given.pop("keys", {})}
    return tune("BPR", "ml-100k", config_dict=keys, **{"space": SPACE, "samples": 3, "cpus": 1, **given})


def epochs_by_trial(folder: Path) -> dict[str, Counter[int]]:
    """How often each trial reported each epoch, over all of its processes."""
    found: dict[str, Counter[int]] = {}
    for events in folder.glob("tensorboard/*/events*"):
        accumulator = EventAccumulator(str(events))
        accumulator.Reload()
        scores = accumulator.Scalars("best_valid_score") if accumulator.Tags()["scalars"] else []
        found.setdefault(events.parent.name, Counter()).update(entry.step for entry in scores)
    return found


def test_a_search_and_what_it_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    """All trials in tables, one line each; preparations shared; the best chosen by validation and tested once."""
    found = search(scheduler="none")
    said = capsys.readouterr().out
    assert "2 preparations, as the space searches dtlns_tree_leaf_size" in said
    assert said.count("epochs, ") == 3 and "FAILED" not in said
    folder = found.folder
    table = pd.read_csv(folder / "trials.csv")
    assert len(table) == 3 and set(table["epoch"]) == {3}
    assert table["best_valid_score"].is_monotonic_decreasing
    assert table["best_valid_score"].iloc[0] == found.best_valid_score
    assert not any("test" in column for column in table), "trials know nothing of test"
    assert len(pd.read_parquet(folder / "trials.parquet")) == 3
    assert found.test_result.keys() >= {"recall@10", "ndcg@10"}
    assert json.loads((folder / "result.json").read_text())["epochs"] == 9
    stored = list(Path("cache/structure-tree").glob("*.safetensors"))
    assert len(stored) == 2, "one tree per leaf size, whatever the trials"
    for page in ("parallel.html", "importance.html"):
        text = (folder / page).read_text()
        assert "dtlns_n_candidates" in text and "cdn.plot.ly" not in text.split("plotly.js v")[0]
    assert {sum(counts.values()) for counts in epochs_by_trial(folder).values()} == {3}

    again = run_recbole_dtlns(config_file_list=[folder / "best.yaml"], config_dict={"checkpoint_dir": "again"})
    assert again["best_valid_score"] == found.best_valid_score, "best.yaml gives the same validation metric"
    assert dict(again["test_result"]) == pytest.approx(found.test_result)
    with pytest.raises(ConfigError, match="holds a search already: go on with --resume="):
        search()


def test_failing_trials_do_not_end_the_search(capsys: pytest.CaptureFixture[str]) -> None:
    """A combination that only the model refuses: its trial is named with the error, the others go on."""
    space = {"embedding_size": {"grid_search": [16, -4]}}
    found = search(space=space, samples=1, search="grid", max_failures=0, keys={"dtlns_preset": "off"})
    said = capsys.readouterr().out
    assert "embedding_size=-4): FAILED: " in said and "nothing to prepare" in said
    assert found.best == {"embedding_size": 16}
    assert found.table["error"].astype(bool).tolist() == [False, True]


def test_a_search_in_which_all_fail_ends_with_the_first_error() -> None:
    with pytest.raises(TrialError, match="all 2 trials failed; the first: RuntimeError: Trying to create"):
        search(space={"embedding_size": {"choice": [-4]}}, samples=2, max_failures=0, keys={"dtlns_preset": "off"})


@pytest.mark.parametrize("algorithm", ["optuna", "hyperopt"])
def test_other_searches(algorithm: str) -> None:
    pytest.importorskip(algorithm)
    space = {"learning_rate": {"loguniform": [1e-3, 1e-1]}, "dtlns_n_candidates": {"choice": [4, 8]}}
    found = search(search=algorithm, scheduler="median", space=space, concurrent=2)
    assert len(found.table) == 3 and (found.table["error"] == "").all()
    assert found.table["learning_rate"].nunique() == 3


def test_asha_stops_bad_trials_early() -> None:
    """Of equal trials but for the rate, those that learn nothing end before the others."""
    space = {"learning_rate": {"grid_search": [1e-2, 1e-2, 1e-7, 1e-7]}}
    found = search(space=space, samples=1, search="grid", grace=2, keys={"epochs": 12, "dtlns_preset": "off"})
    epochs = found.table.groupby("learning_rate")["epoch"].max()
    assert epochs[1e-2] == 12 and epochs[1e-7] < 12


def test_a_trial_moves_on_when_its_node_is_lost(empty_folder: Path) -> None:
    """On a cluster of two nodes, one is killed while both train; all trials finish, from their checkpoints."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    worker = cluster.add_node(num_cpus=1)
    events = empty_folder / "tune_runs" / "lost" / "tensorboard"
    found: list[Any] = []

    def work() -> None:
        keys = {"epochs": 25, "stopping_step": 100}
        found.append(search(samples=2, scheduler="none", name="lost", address=cluster.address, keys=keys))

    searching = threading.Thread(target=work)
    try:
        searching.start()
        wait_for(lambda: len(list(events.glob("*"))) == 2, "both trials report", 120)
        time.sleep(2)
        cluster.remove_node(worker, allow_graceful=False)
        searching.join(400)
        assert not searching.is_alive()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert found[0].table["epoch"].tolist() == [25, 25]
    assert (found[0].table["error"] == "").all()
    counts = epochs_by_trial(empty_folder / "tune_runs" / "lost")
    repeated = [sum(count - 1 for count in trial.values()) for trial in counts.values()]
    assert sum(repeated) <= 3, f"epochs since the last checkpoint at most: {counts}"


def test_a_killed_search_goes_on(empty_folder: Path) -> None:
    """kill -9 of the driver: finished trials are not repeated, the others continue from their checkpoints."""
    Path("space.yaml").write_text("dtlns_n_candidates: {grid_search: [4, 6, 8]}\n")
    settings = [f"--{key}={value}" for key, value in {**QUICK, "epochs": 15, "stopping_step": 100}.items()]
    command = [sys.executable, "-m", "recbole_dtlns.glue.command_line", "tune"]
    first = [*command, "--model=BPR", "--dataset=ml-100k", "--space=space.yaml", "--samples=1", "--search=grid"]
    first += ["--scheduler=none", "--concurrent=1", *settings]
    folder = empty_folder / "tune_runs" / "BPR-ml-100k"
    with Path("first.txt").open("w") as out:
        driver = subprocess.Popen(first, stdout=out, stderr=out, start_new_session=True)
        wait_for(lambda: len(list((folder / "tensorboard").glob("*"))) >= 2, "the second trial reports", 200)
        time.sleep(1.5)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    before = epochs_by_trial(folder)
    assert Path("first.txt").read_text().count("trial 1 ") == 1
    assert not (folder / "result.json").exists()

    done = subprocess.run([*command, f"--resume={folder}"], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(folder / "trials.csv")
    assert table["epoch"].tolist() == [15, 15, 15]
    counts = epochs_by_trial(folder)
    finished = next(trial for trial, epochs in before.items() if len(epochs) == 15)
    assert counts[finished] == before[finished], "not an epoch of a finished trial is trained again"
    repeated = sum(count - 1 for trial in counts.values() for count in trial.values())
    assert repeated <= 2, f"an unfinished trial goes on from its checkpoint: {counts}"
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert best["dtlns_n_candidates"] in (4, 6, 8)


def test_what_cannot_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--resume=nowhere"]) == 2
    assert "holds no search to resume" in capsys.readouterr().err
    assert main(["tune", "--model=BPR", "--dataset=ml-100k"]) == 2
    assert "tune needs --space=FILE, or --resume=FOLDER" in capsys.readouterr().err
    assert main(["tune", "--resume=x", "--model=BPR"]) == 2


def wait_for(condition: Any, what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain until {what}"
        time.sleep(0.1)
