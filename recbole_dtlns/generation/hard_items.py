"""The hard negatives that a generator learns to name: real items, by user or by pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np

from recbole_dtlns.components import ComponentConfig, SharedKey
from recbole_dtlns.errors import DataError
from recbole_dtlns.generation.contract import GenerationTask
from recbole_dtlns.generation.rule import Rule

LearnFrom = Annotated[Literal["teacher", "rule"], SharedKey("hnlmrec_learn_from")]
_MATCHED = 4


class LearningConfig(ComponentConfig):
    """What a generator learns from."""

    learn_from: LearnFrom = "rule"
    """projection, finetune: the hard negatives that are learnt: rule (what the generator `rule` names: the unobserved
    items nearest to user and item that the judge calls no false negatives), or teacher (what the teacher ranks high and
    the judge calls no false negative; with a judge that finds few of them, these are items that the user wants)."""


class HardItems(Protocol):
    """Hard negatives of train pairs.

    Attributes:
        pairs: places, in the order of `train.histories`, of the pairs that have one, int64 ascending.
    """

    @property
    def pairs(self) -> np.ndarray: ...

    def draw(self, pairs: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """One of each pair's, int64 [B].

        Args:
            pairs: some of `pairs` [B].
            uniform: in [0, 1) [B]: says which.
        """
        ...


@dataclass(frozen=True, eq=False)
class HardByUser:
    """Every pair of a user has the same ones.

    Attributes:
        pairs: as `HardItems` has them.
        users: of all train pairs, int64 [n_pairs].
        start: where each user's items begin, int64 [n_users + 1].
        items: of all users one after the other.
    """

    pairs: np.ndarray
    users: np.ndarray
    start: np.ndarray
    items: np.ndarray

    def draw(self, pairs: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        first, end = self.start[self.users[pairs]], self.start[self.users[pairs] + 1]
        found: np.ndarray = self.items[first + (uniform * (end - first)).astype(np.int64)]
        return found


@dataclass(frozen=True, eq=False)
class HardByPair:
    """Every pair has its own.

    Attributes:
        pairs: as `HardItems` has them.
        items: int32 [n_pairs, k]; -1 after the last.
    """

    pairs: np.ndarray
    items: np.ndarray

    def draw(self, pairs: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        counts = (self.items[pairs] >= 0).sum(axis=1)
        found: np.ndarray = self.items[pairs, (uniform * counts).astype(np.int64)].astype(np.int64)
        return found


def hard_items(task: GenerationTask, learn_from: str, who: str) -> HardItems:
    """The hard negatives to learn from; items of which nothing is known in the space are none.

    Args:
        task: what the generator was given.
        learn_from: `teacher` or `rule`.
        who: wants to learn, for messages.

    Raises:
        DataError: fewer than two pairs have one.
    """
    found: HardItems
    if learn_from == "rule":
        items = Rule(items=_MATCHED).generate(task)[0]["items"]
        found = HardByPair(np.flatnonzero(items[:, 0] >= 0), items)
    else:
        users, named = task.hard
        told = task.vectors[named].any(axis=1)
        users, named = users[told], named[told]
        start = np.append(0, np.cumsum(np.bincount(users, minlength=task.train.n_users)))
        of_pairs = task.train.histories()[0]
        found = HardByUser(np.flatnonzero(start[of_pairs + 1] > start[of_pairs]), of_pairs, start, named)
    if len(found.pairs) < 2:
        advice = (
            "check dtlns_text_fields, or choose another dtlns_judge"
            if learn_from == "rule"
            else "raise dtlns_candidates, choose another dtlns_judge, or set dtlns_hnlmrec_learn_from: rule"
        )
        raise DataError(
            f"{who} learns from hard negatives (dtlns_hnlmrec_learn_from: {learn_from}) that the judge calls no false "
            f"negatives, and {len(found.pairs)} train pairs have one: {advice}"
        )
    return found
