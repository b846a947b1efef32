"""Trees read from files may know the pairs that a rehearsal hides: nothing is learnt from them, or scored on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_data import block_interactions

from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.audit import Audit, audit
from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.preparation import Preparation, ask, prepare, rehearse
from recbole_dtlns.reports.audit import audit_page
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.trees.item_tree import ItemTree

SMALL = {"candidates": 16, "teacher_ease_reg": 1.0, "teacher_dim": 8, "structure_dim": 8, "tree_leaf_size": 10}
SMALL |= {"cache_dir": "cache", "judge": "calibrated", "judge_hide": 0.2}


@pytest.fixture(scope="module")
def train() -> TrainInteractions:
    return block_interactions(blocks=4, users=20, items=24, missing=6)


def run_of(train: TrainInteractions, **settings: Any) -> tuple[dict[str, Any], TrainInteractions, Teacher]:
    """What a run gives to the stages."""
    flat = DTLNSSettings.from_config({f"dtlns_{key}": value for key, value in {**SMALL, **settings}.items()}).flat
    return flat, train, make_teacher(flat)


@pytest.fixture
def paths(train: TrainInteractions) -> dict[str, str]:
    """Both trees as files, made of all train pairs with other settings than the run's."""
    question = ask(*run_of(train, tree_leaf_size=4))
    for name, tree in (("structure", question.structure), ("semantic", question.semantic)):
        lines = [f"{token}\t{path}" for token, path in zip(train.item_tokens.tolist(), tree.paths, strict=True)]
        Path(f"{name}.tsv").write_text("item_id\tpath\n" + "\n".join(lines) + "\n")
    return {"structure_paths": "structure.tsv", "semantic_paths": "semantic.tsv"}


def audited(train: TrainInteractions, **settings: Any) -> Audit:
    judges = {"structural": StructuralJudge(threshold=0.5), "calibrated": CalibratedJudge(lift=1.0)}
    return audit(judges, rehearse(*run_of(train, **settings), seed=1, within=True), seed=1)


def prepared(train: TrainInteractions, **settings: Any) -> Preparation:
    return prepare(*run_of(train, **settings))


def test_an_audit_makes_given_trees_anew_and_says_so(train: TrainInteractions, paths: dict[str, str]) -> None:
    """To the last digit the audit of a run without files; the table's head and the page say why."""
    own, given = audited(train), audited(train, **paths)
    assert given.scores == own.scores
    assert own.trees_not_read == () and "paths" not in own.table()
    assert given.trees_not_read == ("structure", "semantic")
    for shown in (given.table().splitlines()[1], audit_page(given)):
        assert "not on the given paths (structure and semantic), which may know the hidden pairs" in shown


def test_trees_made_of_something_else_are_audited_as_they_are(train: TrainInteractions, paths: dict[str, str]) -> None:
    """Where the user says that the paths do not come from the train pairs."""
    found = audited(train, **paths, paths_know_train=False)
    assert found.trees_not_read == ()
    assert found.scores["structural"] != audited(train).scores["structural"]


@pytest.mark.parametrize("names", [["structure_paths"], ["semantic_paths"], ["structure_paths", "semantic_paths"]])
def test_calibrated_neither_learns_from_given_trees_nor_reads_them(
    train: TrainInteractions, paths: dict[str, str], names: list[str]
) -> None:
    """Its verdicts are those of a run without files, the summary says so, and the run's own trees are the files'."""
    own, given = prepared(train), prepared(train, **{name: paths[name] for name in names})
    np.testing.assert_array_equal(given.verdicts.probability, own.verdicts.probability)
    trees = " and ".join(name.removesuffix("_paths") for name in names)
    assert f"trees of its own, not at the given ones ({trees})" in given.summary()
    assert "given ones" not in own.summary()
    read = ItemTree.from_file(paths[names[0]], train.item_tokens.tolist())[0]
    assert getattr(given, names[0].removesuffix("_paths")).paths == read.paths


@pytest.mark.parametrize(
    "other",
    [
        {"structure_dim": 4},
        {"graph_neighbours": 2},
        {"graph_max_history": 5},
        {"tree_leaf_size": 5},
        {"paths_know_train": False},
    ],
    ids=str,
)
def test_verdicts_depend_on_what_a_rehearsal_is_made_by(
    train: TrainInteractions, paths: dict[str, str], other: dict[str, Any]
) -> None:
    """The question of the run is the same; the one that the judge learns from is not, so nothing is reused."""
    settings = {**paths, "judge": "calibrated"}
    first, second = prepared(train, **settings), prepared(train, **{**settings, **other})
    assert first.candidates.scores.tobytes() == second.candidates.scores.tobytes()
    assert first.structure.paths == second.structure.paths
    assert first.artefacts["verdicts"].path != second.artefacts["verdicts"].path
    assert prepared(train, **settings).artefacts["verdicts"].reused


def test_verdicts_depend_on_the_teacher_that_is_trained_again(train: TrainInteractions) -> None:
    """Also where it names the same candidates with the same scores."""
    first = prepared(train, teacher="ItemKNN", teacher_knn_k=95)
    second = prepared(train, teacher="ItemKNN", teacher_knn_k=96)
    assert first.candidates.scores.tobytes() == second.candidates.scores.tobytes()
    assert first.artefacts["verdicts"].path != second.artefacts["verdicts"].path
