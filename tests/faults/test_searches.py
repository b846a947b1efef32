"""Searches on real Ray whose driver is killed or whose checkpoints are damaged end as an undisturbed one does."""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random

import pandas as pd
import pytest
from commands import write_run
from damage import damage_one
from processes import PATIENCE, Child, Children, wait_for

from recbole_dtlns.studies.tune.plan import SEARCH_FILE
from recbole_dtlns.studies.tune.snapshots import KEPT

pytest.importorskip("ray", reason="Ray is not installed; make test-tune installs it")
pytestmark = [pytest.mark.tune, pytest.mark.filterwarnings("ignore")]

SEARCH = ["--space=space.yaml", "--search=grid", "--samples=1", "--scheduler=none", "--concurrent=2", "--name=found"]
LONG = ["--epochs=20", "--stopping_step=100"]
CHECKPOINTS = "killed/found/*/checkpoint_*"


def trials(folder: Path) -> dict[int, tuple[float, int, str]]:
    """Best score, epochs and error of every trial, by its size."""
    table = pd.read_csv(folder / "trials.csv", keep_default_na=False)
    return {
        int(row["embedding_size"]): (row["best_valid_score"], row["epoch"], row["error"])
        for row in table.to_dict("records")
    }


Found = tuple[dict[int, tuple[float, int, str]], dict[str, float]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Trials of a search that nobody disturbed, and the test metrics of the best."""
    started = Children()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("undisturbed"))
        patch.setenv("RECBOLE_DTLNS_CACHE", "cache")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ended = started.command("tune", *write_run(), *begin(), "--storage=whole").wait(2 * PATIENCE)
        assert ended == 0, Path("log.txt").read_text()
        return trials(Path("whole/found")), figures_on_test(Path("whole/found"))


def begin() -> list[str]:
    Path("space.yaml").write_text("embedding_size: {grid_search: [8, 16]}\n")
    return [*SEARCH, *LONG]


def figures_on_test(folder: Path) -> dict[str, float]:
    result: dict[str, float] = json.loads((folder / "result.json").read_text())["test_result"]
    return result


def renumber(checkpoints: list[Path]) -> None:
    """As if the driver had died between removing a trial's last checkpoint and saying so in its snapshot."""
    for path in sorted(checkpoints, reverse=True):
        path.rename(path.with_name(f"checkpoint_{int(path.name[-6:]) + 1:06d}"))


def tear_the_newest_snapshot() -> None:
    """As if the driver had died between opening the snapshot and writing it."""
    max(Path().glob("killed/found/experiment_state*")).write_bytes(b"")


def wait_for_a_snapshot_with_a_checkpoint(killed: Child) -> None:
    from ray.tune import ExperimentAnalysis

    def named() -> bool:
        # The copy that is kept: Ray's own may be half written while it is read here.
        copy = Path("killed/found", KEPT).resolve()
        if not any(copy.glob("experiment_state*")):
            return False
        return any(trial.checkpoint for trial in ExperimentAnalysis(str(copy)).trials)

    wait_for(named, "a snapshot names a checkpoint", killed)


def test_a_snapshot_behind_its_checkpoints_costs_no_trial(
    undisturbed: Found, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    killed = children.command("tune", *write_run(), *begin(), "--storage=killed")
    wait_for_a_snapshot_with_a_checkpoint(killed)
    killed.kill()
    killed.wait()
    renumber(list(Path().glob(CHECKPOINTS)))
    tear_the_newest_snapshot()
    resumed = children.command("tune", "--resume=killed/found", log="resumed.txt")
    assert resumed.wait(2 * PATIENCE) == 0, Path("resumed.txt").read_text()
    assert trials(Path("killed/found")) == undisturbed[0]


@pytest.mark.parametrize(
    ("moment", "damaged"), [(f"killed/found/{SEARCH_FILE}", False), (f"{CHECKPOINTS}/*.pth", True)]
)
def test_a_disturbed_search_finds_what_an_undisturbed_one_does(
    moment: str, damaged: bool, undisturbed: Found, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    expected, test = undisturbed
    random = Random(1)
    killed = children.command("tune", *write_run(), *begin(), "--storage=killed")
    wait_for(lambda: any(Path().glob(moment)), "the search is under way", killed)
    time.sleep(random.uniform(0, 1))
    killed.kill()
    killed.wait()
    what = damage_one(list(Path("killed").rglob("*.pth")), random) if damaged else None

    resumed = children.command("tune", "--resume=killed/found", log="resumed.txt")
    status, said = resumed.wait(2 * PATIENCE), Path("resumed.txt").read_text()
    found = trials(Path("killed/found"))
    assert found.keys() == expected.keys(), said
    for size, (score, epochs, error) in found.items():
        assert (score, epochs) == expected[size][:2] or (damaged and "damaged" in error), f"{what}: {error}"
    if found == expected:
        assert status == 0, said
        assert figures_on_test(Path("killed/found")) == test
