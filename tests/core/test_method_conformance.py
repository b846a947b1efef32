"""Built-in methods pass the checks that are given to authors of others, and each check finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recbole_dtlns.conformance import METHOD_CHECKS, ConformanceError, methods
from recbole_dtlns.data.item_sets import Forbidden, JudgedPairs, PseudoPositives
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.guidance.generated import MatchedItems
from recbole_dtlns.methods import Method, Task
from recbole_dtlns.methods.table import METHODS
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.trees.item_tree import ItemTree


@pytest.mark.parametrize("name", METHODS.names())
@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
def test_built_in_methods_conform(check: Callable[..., None], name: str) -> None:
    check(METHODS.get(name))


class FirstUnobserved(Method):
    """A method of somebody else's, whole: the first unobserved item of every user may be liked."""

    version = 1

    def items(self, task: Task) -> np.ndarray:
        found: np.ndarray = (task.train.matrix.toarray() == 0).argmax(axis=1)
        return found

    def weight(self) -> float:
        return 0.5

    def guide(self, task: Task) -> Guidance:
        users, items = np.arange(task.train.n_users), self.items(task)
        return Guidance(
            train=task.train,
            positives=PseudoPositives.of(users, items, weight=np.full(len(users), self.weight())),
            forbidden=Forbidden.of(users, items),
            judged=JudgedPairs.of(users, items, np.full(len(users), self.weight(), np.float32)),
            views={"parity": self.tree(task)},
            vectors=np.eye(task.train.n_items),
        )

    def tree(self, task: Task) -> ItemTree:
        return ItemTree.from_paths([str(item % 2) for item in range(task.train.n_items)])


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
def test_a_method_of_few_lines_conforms(check: Callable[..., None]) -> None:
    check(FirstUnobserved)


class FirstItem(FirstUnobserved):
    """Names what was observed."""

    def items(self, task: Task) -> np.ndarray:
        return np.zeros(task.train.n_users, dtype=np.int64)


class OtherIds(FirstUnobserved):
    """Ids that begin with 1, as RecBole's do."""

    def items(self, task: Task) -> np.ndarray:
        return np.full(task.train.n_users, task.train.n_items)


class Percent(FirstUnobserved):
    def weight(self) -> float:
        return 50.0


class Removes(FirstUnobserved):
    def weight(self) -> float:
        return -0.5


class SmallTree(FirstUnobserved):
    def tree(self, task: Task) -> ItemTree:
        return ItemTree.from_paths(["0", "1"])


class OnePairShort(FirstUnobserved):
    """Generated negatives for all train pairs but one."""

    def guide(self, task: Task) -> Guidance:
        items = np.zeros((task.train.matrix.nnz - 1, 1), dtype=np.int32)
        return replace(super().guide(task), generated=MatchedItems(task.train, items, np.eye(task.train.n_items)))


class OwnDice(FirstUnobserved):
    def weight(self) -> float:
        return float(np.random.default_rng().random())


class Scribbles(FirstUnobserved):
    def items(self, task: Task) -> np.ndarray:
        task.train.matrix.data[0] = 5
        return super().items(task)


class UnknownKey(FirstUnobserved):
    def keys_read(self, flat: Mapping[str, Any], teacher: Teacher) -> frozenset[str]:
        return frozenset({"seed", "colour"})


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        (FirstItem, methods.guides_by_pairs_that_nobody_observed, "'positives' holds a pair that was observed"),
        (OtherIds, methods.guides_by_pairs_that_nobody_observed, "ids that no train user or item has"),
        (Percent, methods.weights_and_probabilities_are_what_they_are_called, r"outside \[0, 1\]"),
        (Removes, methods.weights_and_probabilities_are_what_they_are_called, "a weight is none above 0"),
        (SmallTree, methods.views_and_vectors_are_of_the_train_items, "of 2 items, not of the 80 in train"),
        (OnePairShort, methods.generated_negatives_are_of_the_train_pairs, r"items of the shape \(767, 1\) for 768"),
        (OwnDice, methods.the_same_task_has_the_same_guidance, "is not the one that was made"),
        (Scribbles, methods.leaves_the_train_pairs_alone, "were written to"),
        (UnknownKey, methods.says_what_it_depends_on, "keys that do not exist: colour"),
    ],
)
def test_broken_methods_are_found(broken: type[Method], check: Callable[..., None], message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check(broken)


def test_every_check_can_fail() -> None:
    """The list above leaves none out."""
    broken = next(mark for mark in test_broken_methods_are_found.pytestmark if mark.name == "parametrize").args[1]
    assert {check for _, check, _ in broken} == set(METHOD_CHECKS)
