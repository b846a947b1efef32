"""What a method of another package may tell training: what is none is refused where it is told, with its name."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest

from recbole_dtlns.conformance.blocks import block_interactions
from recbole_dtlns.data.item_sets import Forbidden, JudgedPairs, PseudoPositives
from recbole_dtlns.errors import ContractError
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.methods import Method, Task
from recbole_dtlns.methods.table import METHODS, guide
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.trees.item_tree import ItemTree

TRAIN = block_interactions()
ONE, ITEM = np.array([0]), np.array([3])


def told(guidance: Any) -> Any:
    class Hostile(Method):
        version = 1

        def guide(self, task: Task) -> Guidance:
            return guidance

    with mock.patch.dict(METHODS._builtin, {"hostile": Hostile}):
        return guide(Task(TRAIN, {"method": "hostile"}, Teacher()))


def positive(item: int = 3, weight: float = 1.0, times: int = 1) -> PseudoPositives:
    return PseudoPositives.of(np.zeros(times, int), np.full(times, item), weight=np.full(times, weight))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"positives": positive(-1)}, "positives with ids"),
        ({"positives": positive(TRAIN.n_items)}, "positives with ids"),
        ({"forbidden": Forbidden.of(np.array([10**6]), ITEM)}, "forbidden with ids"),
        ({"positives": positive(times=2)}, "a positive pair more than once"),
        ({"positives": positive(weight=-1)}, "positives whose weights"),
        ({"positives": positive(weight=np.nan)}, "positives whose weights"),
        ({"judged": JudgedPairs.of(ONE, ITEM, np.array([np.nan], np.float32))}, "judged pairs whose probabilities"),
        ({"judged": JudgedPairs.of(ONE, ITEM, np.array([5], np.float32))}, "judged pairs whose probabilities"),
        ({"views": {"own": ItemTree(np.zeros((3, 1), np.int16))}}, "3 rows in view own"),
        ({"vectors": np.ones((3, 2))}, "3 rows in vectors"),
        ({"vectors": np.full((TRAIN.n_items, 2), np.nan)}, "vectors that hold NaN"),
        ({"train": TRAIN.without(np.arange(TRAIN.matrix.nnz) == 0)}, "guidance made from other train pairs"),
    ],
)
def test_what_is_no_guidance_is_refused_by_name(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ContractError, match=f"the method 'hostile' gave {said}"):
        told(Guidance(**{"train": TRAIN, **parts}))


def test_nothing_and_what_is_right_are_told_apart() -> None:
    with pytest.raises(ContractError, match="the method 'hostile' gave None, and no Guidance"):
        told(None)
    right = Guidance(train=TRAIN, positives=positive())
    assert told(right) is right
