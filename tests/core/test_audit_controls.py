"""An audit tells whether a judge reads the trees, and draws what it found."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from block_data import block_interactions
from test_hidden_positives import ask, rehearsal

from recbole_dtlns.judges.audit import Audit, audit
from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.judges.controls import AlwaysJudge, RandomJudge, with_random_paths, with_shuffled_paths
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.reports.audit import audit_page

Control = Callable[[Question, int], Question]


@pytest.fixture(scope="module")
def question() -> Question:
    return ask(block_interactions(blocks=4, users=20, items=24, missing=6))


@pytest.fixture(scope="module")
def scores(question: Question) -> Audit:
    judges = {
        "always": AlwaysJudge(),
        "random <b>": RandomJudge(rate=0.5, seed=0),
        "structural": StructuralJudge(threshold=0.9),
        "calibrated": CalibratedJudge(lift=1.0),
    }
    known = rehearsal(question.train, 0.25, seed=0, within=(0.25, 5))
    return audit(judges, known, seed=0, controls=["structural", "calibrated"])


def test_a_judge_that_reads_the_trees_is_worse_on_other_paths(scores: Audit) -> None:
    """On blocks the trees say everything, so without them the rule finds no more than chance."""
    read = scores.scores["structural"].auc
    for control in ("shuffled paths", "random paths"):
        assert scores.scores[f"structural, {control}"].auc < read - 0.1


def test_controls_follow_their_judge_in_the_table(scores: Audit) -> None:
    assert list(scores.scores)[2:5] == ["structural", "structural, shuffled paths", "structural, random paths"]
    assert "structural, shuffled paths" in scores.table()
    assert len(scores.scores) == 8


def test_shuffled_paths_keep_the_leaves_and_random_ones_do_not(question: Question) -> None:
    sizes = [
        sorted(np.bincount(asked.structure.leaf_of_item))
        for asked in (question, with_shuffled_paths(question, 1), with_random_paths(question, 1))
    ]
    assert sizes[0] == sizes[1] != sizes[2]
    assert not np.array_equal(with_shuffled_paths(question, 1).structure.digits, question.structure.digits)


@pytest.mark.parametrize("control", [with_shuffled_paths, with_random_paths])
def test_controls_reach_the_rehearsal(question: Question, control: Control) -> None:
    """A judge that learns from hidden positives must not learn from the true trees."""
    learnt = rehearsal(question.train, 0.2, seed=1, within=(0.2, 2))
    rehearsed = replace(question, rehearsal=learnt)
    other, again = control(rehearsed, 3).rehearsal, control(rehearsed, 3).rehearsal
    assert other is not None and again is not None
    for asked in (
        lambda known: known.question,
        lambda known: known.actual,
        lambda known: known.question.rehearsal.question,
        lambda known: known.question.rehearsal.actual,
    ):
        assert not np.array_equal(asked(other).structure.digits, asked(learnt).structure.digits)
        assert np.array_equal(asked(other).structure.digits, asked(again).structure.digits)
        assert asked(other).train is asked(learnt).train
    assert other.hidden is learnt.hidden


def test_the_page_shows_every_judge_in_every_picture(scores: Audit) -> None:
    page = audit_page(scores)
    for picture in ("auc", "recall", "reliability", "agreement"):
        assert f'id="{picture}"' in page
    for name, score in scores.scores.items():
        assert f"<td>{html.escape(name)}</td>" in page
        assert f"<td>{score.auc:.3f}</td>" in page
    assert "<td>random <b></td>" not in page
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="http', page), "it opens offline"


def test_the_scores_are_plain_data(scores: Audit) -> None:
    assert json.loads(json.dumps(scores.plain()))["scores"]["always"]["positive_rate"] == 1.0
