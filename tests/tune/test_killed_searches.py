"""Searches that lose a node or their driver: nothing finished is repeated, the rest continues from its checkpoints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from processes import PATIENCE, wait_for
from searches import QUICK, epochs_by_trial, search

pytest.importorskip("ray", reason="Ray is not installed; make test-tune installs it")
pytestmark = [pytest.mark.tune, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def no_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


def test_a_trial_moves_on_when_its_node_is_lost(empty_folder: Path) -> None:
    """On a cluster of two nodes, one is killed while both train; all trials finish, from their checkpoints."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    worker = cluster.add_node(num_cpus=1)
    folder = empty_folder / "tune_runs" / "lost"
    found: list[Any] = []

    def work() -> None:
        keys = {"epochs": 25, "stopping_step": 100}
        found.append(search(samples=2, scheduler="none", name="lost", address=cluster.address, keys=keys))

    searching = threading.Thread(target=work)
    try:
        searching.start()
        wait_for(lambda: reported(folder, 3) == 2, "both trials report")
        cluster.remove_node(worker, allow_graceful=False)
        searching.join(PATIENCE)
        assert not searching.is_alive()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert found[0].table["epoch"].tolist() == [25, 25]
    assert (found[0].table["error"] == "").all()
    counts = epochs_by_trial(folder)
    repeated = [sum(count - 1 for count in trial.values()) for trial in counts.values()]
    assert sum(repeated) <= 3, f"epochs since the last checkpoint at most: {counts}"


def test_a_killed_search_goes_on(empty_folder: Path) -> None:
    """kill -9 of the driver: finished trials are not repeated, the others continue from their checkpoints."""
    Path("space.yaml").write_text("dtlns_n_candidates: {grid_search: [4, 6, 8]}\n")
    settings = [f"--{key}={value}" for key, value in {**QUICK, "epochs": 15, "stopping_step": 100}.items()]
    command = [sys.executable, "-m", "recbole_dtlns.commands.command_line", "tune"]
    first = [*command, "--model=BPR", "--dataset=ml-100k", "--space=space.yaml", "--samples=1", "--search=grid"]
    first += ["--scheduler=none", "--concurrent=1", *settings]
    folder = empty_folder / "tune_runs" / "BPR-ml-100k"
    with Path("first.txt").open("w") as out:
        driver = subprocess.Popen(first, stdout=out, stderr=out, start_new_session=True)
        wait_for(lambda: reported(folder, 15) == 1 and reported(folder, 2) == 2, "the second trial reports")
        wait_for(lambda: "trial 1 " in Path("first.txt").read_text(), "the first trial is told of")
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    before = epochs_by_trial(folder)
    assert Path("first.txt").read_text().count("trial 1 ") == 1
    assert not (folder / "result.json").exists()

    done = subprocess.run(
        [*command, f"--resume={folder}"], capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )
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


def reported(folder: Path, epochs: int) -> int:
    """Trials that have reported so many epochs."""
    return sum(len(counts) >= epochs for counts in epochs_by_trial(folder).values())
