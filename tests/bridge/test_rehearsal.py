"""A rehearsal knows nothing of the pairs that it hides: else judges learn from, and audits score, what was given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from block_data import block_interactions

from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.preparation import ask, prepare, rehearse
from recbole_dtlns.settings.settings import DTLNSSettings

SHARE = 0.2
SMALL = {"candidates": 16, "teacher_ease_reg": 1.0, "teacher_dim": 8, "structure_dim": 8, "tree_leaf_size": 10}
TRAIN = block_interactions(blocks=4, users=20, items=24, missing=6)


def flat(cache: str) -> dict[str, Any]:
    keys = {**SMALL, "judge_hide": SHARE, "cache_dir": cache}
    return DTLNSSettings.from_config({f"dtlns_{key}": value for key, value in keys.items()}).flat


def asked(train: TrainInteractions) -> Question:
    """What is asked where there are no other pairs, and nothing is kept of any."""
    settings = flat(f"cache-{train.fingerprint}")
    return ask(settings, train, make_teacher(settings))


def assert_equal(first: Question, second: Question) -> None:
    assert first.train.fingerprint == second.train.fingerprint
    for name, column in vars(first.candidates).items():
        assert np.array_equal(column, getattr(second.candidates, name)), name
    assert first.views.keys() == second.views.keys()
    for name, tree in first.views.items():
        assert np.array_equal(tree.digits, second.views[name].digits), name


def test_it_is_the_question_of_a_world_without_the_hidden_pairs() -> None:
    settings = flat("cache")
    found = rehearse(settings, TRAIN, make_teacher(settings), seed=1, within=True)
    reduced, hidden = hide_positives(TRAIN, SHARE, seed=1)
    assert found is not None and found.question.rehearsal is not None
    assert np.array_equal(found.hidden, hidden)
    assert_equal(found.question, asked(reduced))
    assert_equal(found.actual, asked(TRAIN))
    assert_equal(found.question.rehearsal.question, asked(hide_positives(reduced, SHARE, settings["seed"])[0]))


def test_the_hidden_pairs_would_show() -> None:
    """The counterpart: the test above could pass for questions that are the same with them."""
    whole, reduced = asked(TRAIN), asked(hide_positives(TRAIN, SHARE, seed=1)[0])
    assert not np.array_equal(whole.candidates.items, reduced.candidates.items)
    for name, tree in whole.views.items():
        assert not np.array_equal(tree.digits, reduced.views[name].digits), name


def test_verdicts_learnt_from_the_last_pairs_are_kept_by_the_times() -> None:
    """The train pairs are the same, and so is their fingerprint; other pairs are the last."""
    settings = flat("cache") | {"judge": "calibrated", "judge_hide_last": True}
    times = np.random.default_rng(0).permutation(TRAIN.matrix.nnz).astype(np.float64)
    reused = [
        prepare(settings, replace(TRAIN, times=of_pairs), make_teacher(settings)).artefacts["verdicts"].reused
        for of_pairs in (times, -times, times)
    ]
    assert reused == [False, False, True]
    other = settings | {"judge_hide_last": False}
    reused = [
        prepare(other, replace(TRAIN, times=of_pairs), make_teacher(other)).artefacts["verdicts"].reused
        for of_pairs in (times, -times)
    ]
    assert reused == [False, True], "where any pairs are hidden, times change nothing"


def test_last_pairs_are_hidden_once_and_others_anew() -> None:
    """The last pairs are the same whatever the seed: counted again, they would look like more than there are."""
    times = np.random.default_rng(0).permutation(TRAIN.matrix.nnz).astype(np.float64)
    settings = flat("cache") | {"judge_rehearsals": 3}
    for last, rehearsals in ((True, 1), (False, 3)):
        found = rehearse(
            settings | {"judge_hide_last": last}, replace(TRAIN, times=times), make_teacher(settings), seed=1
        )
        assert found is not None and len(list(found.all)) == rehearsals
