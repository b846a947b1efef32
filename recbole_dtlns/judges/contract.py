"""The question put to a judge, and its answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Protocol

import numpy as np

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.trees.item_tree import ItemTree


class Label(IntEnum):
    """A judge's answer for one pair: is the candidate a false negative?"""

    NEGATIVE = 0
    POSITIVE = 1
    ABSTAIN = 2


@dataclass(frozen=True)
class Question:
    """All that a judge may look at; validation and test pairs are not part of it.

    Attributes:
        train: the users' observed histories.
        candidates: the pairs to be judged.
        structure, semantic: the two item trees over the train items.
        reask: the same question made anew (teacher, trees, candidates) from other train pairs with the same canonical
            ids; judges that learn from hidden positives need it. None where it cannot be made.
        given: which of the trees (`structure`, `semantic`) come from outside and may know every train pair; `reask`
            makes others in their place.
    """

    train: TrainInteractions
    candidates: Candidates
    structure: ItemTree
    semantic: ItemTree
    reask: Callable[[TrainInteractions], Question] | None = None
    given: tuple[str, ...] = ()

    def about(self, pairs: np.ndarray) -> Question:
        """The same question about some of the pairs only; it cannot be put anew.

        Args:
            pairs: their positions, ascending.
        """
        candidates = Candidates(*(column[pairs] for column in vars(self.candidates).values()))
        return replace(self, candidates=candidates, reask=None)

    def on_own_trees(self) -> Question:
        """The same question on trees made of its train pairs, where others were given.

        What is learnt where pairs are hidden is learnt on such trees, and would read others wrongly.
        """
        if self.reask is None or not self.given:
            return self
        own = self.reask(self.train)
        return replace(self, structure=own.structure, semantic=own.semantic)

    def pair_keys(self) -> np.ndarray:
        """One number per candidate pair, user * n_items + item, int64 [n_pairs]."""
        return self.candidates.users.astype(np.int64) * self.train.n_items + self.candidates.items


@dataclass(frozen=True)
class Verdicts:
    """One answer per candidate pair, in the order of the candidates.

    Attributes:
        probability: that the pair is a false negative, float32 [n_pairs]; NaN where the judge abstains.
        label: a `Label` per pair, int8 [n_pairs].
        abstained: how often the judge abstained, by reason.
        facts: plain data on how the answers were got (model, tokens ...), for summaries.
    """

    probability: np.ndarray
    label: np.ndarray
    abstained: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Number of pairs per label."""
        found = Counter(self.label.tolist())
        return {label.name.lower(): found[label.value] for label in Label}


class Judge(Protocol):
    """Decides for every candidate pair whether it is a false negative.

    Attributes:
        version: of its code; raised when the same inputs give other verdicts.
        keeps_verdicts: whether the judge keeps its own verdicts, so that asking it twice costs nothing; the verdicts
            of other judges are kept as artefacts.
    """

    version: int
    keeps_verdicts: bool

    def inputs(self) -> dict[str, Any]:
        """Plain data that, with the question, determines the verdicts."""
        ...

    def judge(self, question: Question) -> Verdicts:
        """Answer for every candidate pair."""
        ...
