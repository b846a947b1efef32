"""A teacher that RecBole trains passes the checks that are given to authors of others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from recbole_dtlns.bridge.teacher import RecBoleTeacher
from recbole_dtlns.conformance import TEACHER_CHECKS, teachers


@pytest.mark.parametrize("check", TEACHER_CHECKS, ids=lambda check: check.__name__)
def test_a_trained_teacher_conforms(check: Callable[..., None]) -> None:
    """BPR, for as many epochs as it takes to learn the blocks."""
    Path("quick.yaml").write_text("learning_rate: 0.01\ntrain_batch_size: 128\n")
    epochs = 60 if check is teachers.ranks_the_missing_items_of_blocks_first else 2
    check(partial(RecBoleTeacher, **{"model": "BPR", "epochs": epochs, "config_files": ["quick.yaml"]}))
