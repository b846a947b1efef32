"""Comparisons end to end, in real processes: numbers, tests, files, and what is left after a kill."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from filelock import FileLock
from processes import PATIENCE, Children, wait_for

from recbole_dtlns.bridge.runner import run_recbole_dtlns
from recbole_dtlns.errors import ConfigError, TrialError
from recbole_dtlns.evaluation.significance import flips_for, paired_test
from recbole_dtlns.studies.compare.cell import LOCK
from recbole_dtlns.studies.compare.compare import compare
from recbole_dtlns.studies.compare.comparison import Chosen, Comparison, Row, TestCount

Finished = tuple[Path, Comparison, list[str]]
DTL_NS = "DTL-NS (alpha_structure=0.5)"


def row(found: Comparison, arm: str) -> Row:
    return next(row for row in found.rows if row.arm == arm)


def cell_of(found: Comparison, arm: str) -> Path:
    folders = (path.parent for path in found.folder.glob("cells/*/result.json"))
    return next(folder for folder in folders if json.loads((folder / "result.json").read_text())["arm"] == arm)


def test_an_arm_has_the_numbers_of_a_plain_run(finished: Finished) -> None:
    """RecBole's metrics of `run_recbole_dtlns` are the means over users of ours."""
    path, found, _ = finished
    keys = yaml.safe_load(path.read_text())["settings"]
    result = run_recbole_dtlns("BPR", "tiny", config_dict={**keys, "dtlns_preset": "off", "seed": 2020})
    for name, value in row(found, "plain RecBole").metrics.items():
        assert value.mean == pytest.approx(result["test_result"][name], abs=5.1e-5), name  # RecBole rounds to 4


def test_every_arm_is_tested_against_the_baseline(finished: Finished) -> None:
    _, found, _ = finished
    users = pd.read_parquet(found.folder / "per_user.parquet")
    model, base = (
        users[users["arm"] == arm].set_index("user_id")["ndcg@10"].sort_index() for arm in (DTL_NS, "plain RecBole")
    )
    made = found.experiment.tests["given"]
    assert made == TestCount(tests=30, flips=flips_for(30))  # three arms, ten metrics
    expected = paired_test(model.to_numpy(), base.to_numpy(), flips=made.flips)
    written = row(found, DTL_NS).tests["ndcg@10"]
    assert written.difference == pytest.approx(expected.difference)
    assert written.p == expected.p
    assert written.p_holm >= written.p
    assert row(found, "plain RecBole").tests == {}


def test_the_leaking_mask_is_a_second_number_and_never_a_result(finished: Finished) -> None:
    """On the same lists, after training: the model that knows no judge is lifted as well."""
    _, found, _ = finished
    plain = row(found, "plain RecBole")
    assert not plain.leaking
    assert plain.authors_mask["recall@10"].known > plain.mean("recall@10")
    assert "LEAKING" in (found.folder / "comparison.md").read_text()


def test_hidden_positives_are_masked_and_counted(finished: Finished) -> None:
    _, found, _ = finished
    assert row(found, "plain RecBole").recovered is None
    recovered = row(found, DTL_NS).recovered
    assert recovered is not None and 0 < recovered <= 1
    train = pd.read_csv(finished[0].parent / "data/tiny/tiny.train.inter", sep="\t")
    seen = set(zip(train.iloc[:, 0], train.iloc[:, 1], strict=True))
    lines = (cell_of(found, DTL_NS) / "run.trec").read_text().splitlines()
    assert not [line for line in lines if (line.split()[0], line.split()[2]) in seen]


def test_run_files_give_other_evaluators_the_same_numbers(finished: Finished) -> None:
    """As trec_eval reads them: by falling score; recall computed from the two files alone."""
    _, found, _ = finished
    cell = cell_of(found, "plain RecBole")
    run = pd.read_csv(cell / "run.trec", sep=" ", header=None, names=["user", "q0", "item", "rank", "score", "tag"])
    truth = pd.read_csv(cell / "qrels.trec", sep=" ", header=None, names=["user", "q0", "item", "relevant"])
    assert set(run["q0"]) == {"Q0"}
    assert set(run["tag"]) == {"plain-RecBole"}
    first = run.sort_values(["user", "score"], ascending=[True, False]).groupby("user").head(10)
    hits = first.merge(truth, on=["user", "item"]).groupby("user").size()
    recall = (hits.reindex(truth["user"].unique(), fill_value=0) / truth.groupby("user").size()).mean()
    assert recall == pytest.approx(row(found, "plain RecBole").mean("recall@10"))


def test_the_epoch_is_chosen_on_validation(finished: Finished) -> None:
    _, found, _ = finished
    content = json.loads((cell_of(found, DTL_NS) / "result.json").read_text())
    scores = [entry["valid"]["ndcg@10"] for entry in content["curve"]]
    assert content["best_epoch"] == int(np.argmax(scores))
    assert content["best_valid_score"] == max(scores)
    assert content["undertrained"] == (scores[-1] > max(scores[:-1]))


def test_a_closed_form_model_is_never_called_undertrained(finished: Finished) -> None:
    content = json.loads((cell_of(finished[1], "EASE") / "result.json").read_text())
    assert not content["undertrained"]


def test_test_pairs_are_ranked_for_the_arm_that_validation_chose_and_for_no_other(finished: Finished) -> None:
    path, found, _ = finished
    content = yaml.safe_load(path.read_text()) | {"test_best": 1, "references": [], "authors_mask": None}
    content["arms"] = {
        "hardly learns": {"dtlns_preset": "off", "learning_rate": 1.0e-9},
        "plain RecBole": {"dtlns_preset": "off"},
    }
    path.with_name("tuning.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    said: list[str] = []
    tuned = compare(path.with_name("tuning.yaml"), output="tuned", say=said.append)
    test = row(found, "plain RecBole").metrics
    assert tuned.chosen == [Chosen("given", "plain RecBole", [2020], test)]
    for arm in content["arms"]:
        assert "test" not in row(tuned, arm).plain() and row(tuned, arm).measured == "validation"
    cells = {folder.parent: json.loads(folder.read_text()) for folder in tuned.folder.glob("cells/*/result.json")}
    assert sorted((cell["arm"], "test" in cell) for cell in cells.values()) == [
        ("hardly learns", False),
        ("plain RecBole", False),
        ("plain RecBole", True),
    ]
    for folder, cell in cells.items():
        ranked = pd.read_csv(folder / "qrels.trec", sep=" ", header=None, usecols=[0, 2])
        part = "test" if "test" in cell else "valid"
        pairs = pd.read_csv(path.parent / f"data/tiny/tiny.{part}.inter", sep="\t")
        assert set(ranked.itertuples(index=False, name=None)) == set(pairs.itertuples(index=False, name=None))
    assert "what validation chose: 1 runs" in "".join(said)
    assert "Test, of what validation chose" in (tuned.folder / "comparison.md").read_text()


def test_what_is_done_is_not_done_again_and_a_new_arm_runs_alone(finished: Finished) -> None:
    path, found, _ = finished
    content = yaml.safe_load(path.read_text())
    content["arms"] = {
        "renamed": content["arms"]["plain RecBole"],
        "DTL-NS": content["arms"]["DTL-NS"],
        "dns": {"dtlns_preset": "off", "dtlns_sampler": "dns"},
    }
    path.with_name("more.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    times = {file: file.stat().st_mtime_ns for file in found.folder.glob("cells/*/result.json")}
    said: list[str] = []
    again = compare(path.with_name("more.yaml"), output=found.folder, say=said.append)
    assert "5 runs, 4 of them done before" in said[0]
    assert len(said) == 2
    assert {file: file.stat().st_mtime_ns for file in times} == times
    assert row(again, DTL_NS).metrics == row(found, DTL_NS).metrics
    assert row(again, "renamed").metrics == row(found, "plain RecBole").metrics


def test_no_runs_at_once_are_refused_before_any_work(finished: Finished) -> None:
    with pytest.raises(ConfigError, match="jobs must be at least 1, not 0"):
        compare(finished[0], jobs=0)
    assert not Path("compare_runs").exists()


def test_one_failing_run_costs_no_other(finished: Finished) -> None:
    path, found, _ = finished
    content = yaml.safe_load(path.read_text())
    content["arms"]["broken"] = {"dtlns_judge": "recorded", "dtlns_judge_labels": "nowhere.tsv"}
    path.with_name("broken.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(TrialError, match=r"(?s)1 of 5 runs failed.*broken, given, seed 2020: .*nowhere\.tsv") as error:
        compare(path.with_name("broken.yaml"), output=found.folder, say=lambda _: None)
    assert "\n" in str(error.value)
    assert "1 of 5 runs are missing" in (found.folder / "comparison.md").read_text()


def test_a_killed_comparison_leaves_nothing_running_and_goes_on(finished: Finished, children: Children) -> None:
    """kill -9 in the middle of training: the run ends with its parent, and is continued, not repeated."""
    path = finished[0]
    content = yaml.safe_load(path.read_text())
    content["settings"] |= {"epochs": 3000, "stopping_step": 3000}
    content |= {"arms": {"long": {"dtlns_preset": "off"}}, "references": [], "authors_mask": None}
    long = path.with_name("long.yaml")
    long.write_text(yaml.safe_dump(content, sort_keys=False))
    cells = Path("killed/cells")
    killed = children.command("compare", long, "--output=killed")
    wait_for(lambda: list(cells.glob("*/train/*/last.pth")), "a checkpoint is written", killed)
    killed.kill()
    log = next(cells.glob("*/log.txt"))
    with FileLock(log.with_name(LOCK), timeout=PATIENCE):  # free when nobody works there
        assert "resuming from" not in log.read_text()
    killed = children.command("compare", long, "--output=killed")
    wait_for(lambda: "resuming from" in log.read_text(), "the run is resumed", killed)
    killed.kill()
    with FileLock(log.with_name(LOCK), timeout=PATIENCE):
        pass
    first = int(log.read_text().split("resuming from")[1].split("at epoch ")[1].split()[0])
    assert first > 0
