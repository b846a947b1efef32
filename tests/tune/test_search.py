"""Searches on real Ray: what they find and leave behind, failing trials, other algorithms, early stopping."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from searches import epochs_by_trial, search

from recbole_dtlns import run_recbole_dtlns
from recbole_dtlns.commands.command_line import main
from recbole_dtlns.errors import ConfigError, TrialError

pytestmark = [pytest.mark.tune, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def ray_of_this_machine() -> Iterator[None]:
    """Started once for all searches here; a search leaves what it finds connected."""
    ray = pytest.importorskip("ray", reason="Ray is not installed; make test-tune installs it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, log_to_driver=False, include_dashboard=False)
        yield
        ray.shutdown()


def test_a_search_and_what_it_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    """All trials in tables, one line each; preparations shared; the best chosen by validation and tested once."""
    found = search(scheduler="none", checkpoint_every=2)
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
    """What only the optimizer refuses, in its first step: the trial is named with the error, the others go on."""
    space = {"learner": {"grid_search": ["adam", "sparse_adam"]}}
    found = search(space=space, samples=1, search="grid", max_failures=0, keys={"dtlns_preset": "off"})
    said = capsys.readouterr().out
    assert "learner=sparse_adam): FAILED: " in said and "nothing to prepare" in said
    assert found.best == {"learner": "adam"}
    assert found.table["error"].astype(bool).tolist() == [False, True]


def test_a_search_in_which_all_fail_ends_with_the_first_error() -> None:
    with pytest.raises(TrialError, match="all 2 trials failed; the first: RuntimeError: SparseAdam does not"):
        search(space={"learner": {"choice": ["sparse_adam"]}}, samples=2, max_failures=0, keys={"dtlns_preset": "off"})


def test_a_value_that_cannot_work_is_refused_before_any_trial() -> None:
    with pytest.raises(ConfigError, match="embedding_size: must be a whole number above 0, not -4"):
        search(space={"embedding_size": {"grid_search": [16, -4]}}, samples=1, search="grid")


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


def test_what_cannot_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--resume=nowhere"]) == 2
    assert "holds no search to resume" in capsys.readouterr().err
    assert main(["tune", "--model=BPR", "--dataset=ml-100k"]) == 2
    assert "tune needs --space=FILE, or --resume=FOLDER" in capsys.readouterr().err
    assert main(["tune", "--resume=x", "--model=BPR"]) == 2
