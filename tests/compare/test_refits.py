"""Refits in a comparison: a table of their own, with nothing of it in the tests of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from block_data import block_pairs, split_pairs, write_splits

from recbole_dtlns.bridge.runner import run_recbole_dtlns
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.reports.comparison import write_report
from recbole_dtlns.studies.compare.best_run import best_run
from recbole_dtlns.studies.compare.compare import compare
from recbole_dtlns.studies.compare.comparison import Comparison

EASE = {"dtlns_preset": "off", "reg_weight": 100.0}  # as the teacher has it


def write_experiment() -> Path:
    """An arm that is refitted, one that leaks and is not, and a reference."""
    keys = write_splits(Path("data"), "tiny", *split_pairs(*block_pairs()))
    content = {
        "model": "BPR",
        "dataset": "tiny",
        "seeds": [2020],
        "settings": {"epochs": 2, "train_batch_size": 256, "valid_metric": "NDCG@10", **keys},
        "references": ["EASE"],
        "arms": {
            "plain RecBole": {"dtlns_preset": "off"},
            "leaking": {"dtlns_preset": "authors", "dtlns_teacher": "EASE", "dtlns_relabel_graph": False},
        },
    }
    path = Path("tiny.yaml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_refits_stand_apart_from_the_comparison_that_they_change_nothing_of() -> None:
    said: list[str] = []
    alone = compare(write_experiment(), output="out", say=said.append)
    path = changed(Path("tiny.yaml"), refit=True)
    found = compare(path, output="out", say=said.append)

    assert found.experiment == alone.experiment
    assert found.rows == alone.rows, "tests and figures of the arms are what they are without refits"
    assert alone.refits is None
    assert [one.arm for one in found.refits or ()] == ["plain RecBole", "EASE"], "nothing that leaks is refitted"
    assert any("3 runs, 3 of them done before" in line for line in said)
    arm, reference = found.refits or ()
    assert arm.test != found.rows[0].metrics
    assert (arm.reference, reference.reference, reference.epochs) == (False, True, [1])

    keys = yaml.safe_load(path.read_text())["settings"]
    by_hand = run_recbole_dtlns("EASE", "tiny", config_dict={**keys, **EASE, "refit": True})
    for name, value in by_hand["refit"]["test_result"].items():
        assert reference.test[name].known == pytest.approx(value, abs=5.1e-5), name

    text = (found.folder / "comparison.md").read_text()
    assert "### REFIT on train and validation, no part of the comparison above" in text
    assert "| refit: EASE" in text
    assert Comparison.read(found.folder).refits == found.refits
    assert "Refitted on train and validation: no part" in write_report([found.folder]).read_text()
    assert best_run(replace(found, rows=found.rows[:1]))[1].parent.parent.name.startswith("plain-RecBole_given_2020")


def changed(path: Path, **keys: Any) -> Path:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | keys, sort_keys=False))
    return path


def test_an_arm_that_a_checkpoint_teaches_is_refused_before_any_run() -> None:
    path = write_experiment()
    content = yaml.safe_load(path.read_text())
    content["arms"]["taught"] = {"dtlns_teacher": "checkpoint", "dtlns_teacher_checkpoint": "best.pth"}
    path.write_text(yaml.safe_dump(content | {"refit": True}, sort_keys=False))
    with pytest.raises(ConfigError, match=r"the checkpoint that teaches the arm 'taught' knows one of the two"):
        compare(path)


@pytest.mark.parametrize("where", ["settings", "arms"])
def test_an_arm_cannot_be_refitted_among_others_that_are_not(where: str) -> None:
    path = write_experiment()
    content = yaml.safe_load(path.read_text())
    (content["settings"] if where == "settings" else content["arms"]["plain RecBole"])["refit"] = True
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError, match=r"'refit'.* belongs to the comparison; give refit: true beside settings"):
        compare(path)
