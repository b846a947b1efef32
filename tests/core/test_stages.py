"""What a stage's result is kept by, and what is noted of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_data import block_pairs

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.preparation.stage import Stage, StoreConfig, Workbench, digest_of, order_inputs, text_inputs


class Counting(Stage):
    name = "counting pairs"
    version = 1

    def __init__(self) -> None:
        pass

    def sentence(self, facts: Mapping[str, Any]) -> str:
        return f"{facts['pairs']} pairs"

    def run(self, bench: Workbench) -> None:
        self.kept(bench, {}, lambda: ({}, {"pairs": 3}))


@pytest.fixture(scope="module")
def train() -> TrainInteractions:
    users, items = block_pairs(blocks=2, users=4, items=5, missing=1)
    return TrainInteractions.from_tokens(users, items, np.arange(len(users), dtype=float))


def test_a_stage_is_noted_on_its_own_bench_alone(train: TrainInteractions, tmp_path: Path) -> None:
    bench = Workbench(train, StoreConfig(cache_dir=str(tmp_path)).open())
    inner = bench.with_train(train)
    Counting().run(inner)
    assert bench.done == {}
    Counting().run(bench)
    assert [inner.done["counting pairs"].line(), bench.done["counting pairs"].line()] == [
        "  counting pairs  computed  3 pairs",
        "  counting pairs  reused    3 pairs",
    ]
    assert [path.parent.name for path in tmp_path.rglob("*.safetensors")] == ["counting-pairs"]


def test_texts_and_order_are_part_of_what_reads_them(train: TrainInteractions) -> None:
    vectors = np.eye(train.n_items, dtype=np.float32)
    one, other = (replace(train, content=ItemContent.of_vectors(times * vectors)) for times in (1, 2))
    later = replace(train, times=train.times[::-1])
    assert text_inputs(train, False) == text_inputs(one, False) == {}
    assert text_inputs(one, True) == text_inputs(one, True) != text_inputs(other, True)
    assert order_inputs(train, False) == order_inputs(later, False) == {}
    assert order_inputs(train, True) != order_inputs(later, True)


def test_arrays_of_the_same_bytes_are_told_apart() -> None:
    numbers = np.zeros((2, 3), np.int32)
    others = [numbers.reshape(3, 2), numbers.view(np.float32), numbers.T]
    digests = {digest_of(array) for array in [numbers, *others[:2]]} | {digest_of(numbers, numbers)}
    assert len(digests) == 4
    assert digest_of(np.arange(6).reshape(2, 3)) != digest_of(np.arange(6).reshape(3, 2).T)
    assert digest_of(others[2]) == digest_of(np.ascontiguousarray(others[2]))
