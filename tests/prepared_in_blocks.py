"""Small preparations in which everything that falls into blocks is done, and what identifies their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_data import block_pairs

from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.preparation import prepare
from recbole_dtlns.settings.settings import DTLNSSettings

SMALL = {"candidates": 12, "teacher_dim": 8, "structure_dim": 8, "tree_leaf_size": 10, "judge_hide": 0.2}
RUNS: dict[str, dict[str, Any]] = {
    "learnt": {"judge": "calibrated", "judge_learner": "mean", "relabel_order": "probability"},
    "of a council": {
        "teachers": ["NeighbourRidge", "TransitionRidge", "MarkovChain", "ItemKNN", "EASE"],
        "judge": "calibrated",
        "judge_reads_order": True,
    },
    "by a rule": {"teacher": "ItemKNN", "structure_graph": "transitions"},
}


def timed_interactions() -> TrainInteractions:
    """Train pairs of 80 users and 96 items, with times."""
    users, items = block_pairs(blocks=4, users=20, items=24, missing=6)
    return TrainInteractions.from_tokens(users, items, np.random.default_rng(0).permutation(len(users)).astype(float))


def digests(name: str, cache: Path, **keys: Any) -> dict[str, str]:
    """What identifies the result of every stage, to the last bit."""
    given = {**SMALL, **RUNS[name], "cache_dir": str(cache), **keys}
    flat = DTLNSSettings.from_config({f"dtlns_{key}": value for key, value in given.items()}).flat
    done = prepare(flat, timed_interactions(), make_teacher(flat))
    assert len(done.positives) > 0
    return {stage: artefact.digest for stage, artefact in done.artefacts.items()}


def cut_small(patch: pytest.MonkeyPatch) -> None:
    """Blocks so small that these data have many."""
    patch.setattr("recbole_dtlns.data.co_occurrence._PRODUCTS_AT_ONCE", 5_000)
    patch.setattr("recbole_dtlns.teachers.contract._USERS_AT_ONCE", 7)
    patch.setattr("recbole_dtlns.teachers.council._USERS_AT_ONCE", 9)
    patch.setattr("recbole_dtlns.judges.pair_blocks._PAIRS_AT_ONCE", 50)
    patch.setattr("recbole_dtlns.guidance.relabelling._PAIRS_AT_ONCE", 70)
