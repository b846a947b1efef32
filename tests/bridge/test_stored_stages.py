"""What the stages keep is found again: by the same keys as version 0.1 kept it, and without doing its work twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from block_data import block_interactions
from safetensors import safe_open

from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.contract import Judge, Question, Verdicts
from recbole_dtlns.judges.controls import NeverJudge
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.preparation import Preparation, prepare
from recbole_dtlns.preparation.rehearsing import Rehearsing
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.teachers.closed_form import EASE

# Written by version 0.1 from the same pairs and settings; digests of computed arrays, which differ between processors
# in their last bits, are left out. The version of a judge or teacher is written anew where it was raised since.
RECORDED = json.loads((Path(__file__).parent / "stored_stages.json").read_text())
COMPUTED = ("vectors", "candidates", "trees", "verdicts")

SMALL = {
    "teacher": "EASE",
    "candidates": 16,
    "teacher_ease_reg": 1.0,
    "teacher_dim": 8,
    "structure_dim": 8,
    "tree_leaf_size": 10,
}
RUNS: dict[str, dict[str, Any]] = {
    "structural": {},
    "calibrated": {"judge": "calibrated", "judge_hide": 0.2, "judge_lift": 1.5, "seed": 9},
    "given paths": {"judge": "calibrated", "judge_hide": 0.2, "structure_paths": "structure.tsv"},
    "paths of something else": {"semantic_paths": "structure.tsv", "paths_know_train": False},
    "random": {
        "judge": "random",
        "teacher": "ItemKNN",
        "teacher_knn_k": 20,
        "tree_control": "random",
        "relabel_order": "probability",
    },
    "shuffled": {
        "judge": "shuffled",
        "tree_control": "shuffled",
        "graph_neighbours": 5,
        "graph_max_history": 12,
        "tree_balance": "none",
    },
    "candidates": {"judge": "rank", "candidates_file": "candidates.tsv", "relabel_top": 0},
    "recorded": {"judge": "recorded", "judge_labels": "candidates.tsv", "judge_missing": "negative"},
    "trained": {"teacher": "BPR", "teacher_epochs": 2, "teacher_config_files": ["bpr.yaml"], "judge": "always"},
}


@pytest.fixture(scope="module")
def train() -> TrainInteractions:
    return block_interactions(blocks=4, users=20, items=24, missing=6)


@pytest.fixture(autouse=True)
def files(train: TrainInteractions) -> None:
    """What the runs name."""
    lines = [f"{token}\t{n % 3}-{n % 5}" for n, token in enumerate(train.item_tokens.tolist())]
    Path("structure.tsv").write_text("item_id\tpath\n" + "\n".join(lines) + "\n")
    Path("candidates.tsv").write_text("user_id\titem_id\nu0-00\ti1-00\nu1-00\ti0-00\n")
    Path("bpr.yaml").write_text("embedding_size: 8\n")


def prepared(train: TrainInteractions, **keys: Any) -> Preparation:
    given = {**SMALL, **keys, "cache_dir": "cache"}
    flat = DTLNSSettings.from_config({f"dtlns_{key}": value for key, value in given.items()}).flat
    return prepare(flat, train, make_teacher(flat))


def known_by(file: Path) -> dict[str, Any]:
    """Stage, version and inputs that an artefact is kept by."""
    with safe_open(file, framework="numpy") as content:
        (header,) = (json.loads(value) for value in content.metadata().values())
    inputs = {name: "computed" if name in COMPUTED else value for name, value in header["inputs"].items()}
    return {"stage": header["stage"], "version": header["version"], "inputs": inputs}


@pytest.mark.parametrize("name", RUNS)
def test_artefacts_are_kept_by_what_version_0_1_kept_them_by(name: str, train: TrainInteractions) -> None:
    """So those that it left are used; a key that was renamed or added since does not train a teacher again."""
    done = prepared(train, **RUNS[name])
    assert {stage: known_by(artefact.path) for stage, artefact in done.artefacts.items()} == RECORDED[name]


@pytest.mark.parametrize("name", ["calibrated", "given paths"])
def test_nothing_is_rehearsed_for_verdicts_that_are_kept(name: str, train: TrainInteractions) -> None:
    first = prepared(train, **RUNS[name])
    with (
        mock.patch.object(EASE, "fit", side_effect=AssertionError("the teacher was fitted again")),
        mock.patch.object(Rehearsing, "run", side_effect=AssertionError("there was a rehearsal")),
    ):
        second = prepared(train, **RUNS[name])
    assert all(artefact.reused for artefact in second.artefacts.values())
    np.testing.assert_array_equal(first.verdicts.probability, second.verdicts.probability)


def test_a_rehearsal_is_for_judges_that_learn_from_it(train: TrainInteractions) -> None:
    """And its settings are part of what their verdicts are kept by, without a word of theirs."""
    asked: list[Question] = []

    class Learner(Judge):
        version = 1
        rehearses = True

        def inputs(self) -> dict[str, Any]:
            return {"judge": "learner"}

        def judge(self, question: Question) -> Verdicts:
            asked.append(question)
            return NeverJudge().judge(question)

    with mock.patch.dict(JUDGES._builtin, learner=Learner):
        first, other, again = (prepared(train, judge="learner", judge_hide=share) for share in (0.2, 0.3, 0.2))
    assert len(asked) == 2 and again.artefacts["verdicts"].reused
    assert first.artefacts["verdicts"].path != other.artefacts["verdicts"].path
    for question, share in zip(asked, (0.2, 0.3), strict=True):
        assert question.rehearsal is not None
        left = question.rehearsal.question.train.matrix.nnz
        assert left == train.matrix.nnz - len(question.rehearsal.hidden)
        assert len(question.rehearsal.hidden) == pytest.approx(share * train.matrix.nnz, rel=0.15)
        assert question.rehearsal.question.candidates is not question.candidates
    prepared(train)
    assert len(asked) == 2
