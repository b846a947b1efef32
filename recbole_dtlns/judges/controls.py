"""Judges that show what another judge is worth: always, never, random, teacher rank, and shuffled trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from recbole_dtlns.judges.contract import Label, Question, Verdicts
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.trees.item_tree import ItemTree


class ConstantJudge:
    """The same answer for every pair: `always` (each candidate is a false negative) or `never`."""

    version = 1
    keeps_verdicts = False

    def __init__(self, answer: Label) -> None:
        self.answer = answer

    @classmethod
    def always(cls, settings: Any) -> ConstantJudge:
        return cls(Label.POSITIVE)

    @classmethod
    def never(cls, settings: Any) -> ConstantJudge:
        return cls(Label.NEGATIVE)

    def inputs(self) -> dict[str, Any]:
        return {"judge": self.answer.name}

    def judge(self, question: Question) -> Verdicts:
        """The same label for all candidates, with certainty."""
        n = len(question.candidates)
        return Verdicts(np.full(n, float(self.answer), np.float32), np.full(n, self.answer, np.int8))


class RandomJudge:
    """Positive with a fixed probability, whatever the pair.

    Args:
        rate: expected share of positives.
        seed: of the draws.
    """

    version = 1
    keeps_verdicts = False

    def __init__(self, rate: float, seed: int) -> None:
        self.rate = rate
        self.seed = seed

    @classmethod
    def from_settings(cls, settings: Any) -> RandomJudge:
        return cls(settings.judge_random_rate, settings.seed)

    def inputs(self) -> dict[str, Any]:
        return {"judge": "random", "rate": self.rate, "seed": self.seed}

    def judge(self, question: Question) -> Verdicts:
        """Independent draws; the probability reported is the rate, which is all this judge knows."""
        n = len(question.candidates)
        label = np.random.default_rng(self.seed).random(n) < self.rate
        return Verdicts(np.full(n, self.rate, np.float32), label.astype(np.int8))


class RankJudge:
    """Positive for the teacher's first candidates of every user: what the teacher knows without any judge.

    Args:
        first: how many candidates of a user are positive.
    """

    version = 1
    keeps_verdicts = False

    def __init__(self, first: int) -> None:
        self.first = first

    @classmethod
    def from_settings(cls, settings: Any) -> RankJudge:
        return cls(settings.judge_rank_first)

    def inputs(self) -> dict[str, Any]:
        return {"judge": "rank", "first": self.first}

    def judge(self, question: Question) -> Verdicts:
        """The probability is 1 / (1 + rank): an order, not an estimate."""
        ranks = question.candidates.ranks
        label = np.where(ranks < self.first, Label.POSITIVE, Label.NEGATIVE)
        return Verdicts((1 / (1 + ranks)).astype(np.float32), label.astype(np.int8))


class ShuffledJudge:
    """The structural rule on trees whose paths were dealt to the items at random: does the rule read the trees?

    Args:
        threshold: of the structural rule.
        seed: of the shuffle.
    """

    version = 1
    keeps_verdicts = False

    def __init__(self, threshold: float, seed: int) -> None:
        self.threshold = threshold
        self.seed = seed

    @classmethod
    def from_settings(cls, settings: Any) -> ShuffledJudge:
        return cls(settings.judge_threshold, settings.seed)

    def inputs(self) -> dict[str, Any]:
        return {"judge": "shuffled", "threshold": self.threshold, "seed": self.seed}

    def judge(self, question: Question) -> Verdicts:
        """Structural verdicts under the shuffled paths."""
        return StructuralJudge(self.threshold).judge(with_shuffled_paths(question, self.seed))


def with_shuffled_paths(question: Question, seed: int) -> Question:
    """The same question on trees whose paths were dealt to the items at random; leaves keep their sizes."""
    order = np.random.default_rng(seed).permutation(question.train.n_items)
    return _with_paths(question, lambda tree: tree.digits[order], lambda asked: with_shuffled_paths(asked, seed))


def with_random_paths(question: Question, seed: int) -> Question:
    """The same question on trees in which every item has the path of a leaf drawn uniformly, in each tree anew."""
    random = np.random.default_rng(seed)

    def draw(tree: ItemTree) -> np.ndarray:
        leaves = np.unique(tree.digits, axis=0)
        return leaves[random.integers(0, len(leaves), len(tree.digits))]

    return _with_paths(question, draw, lambda asked: with_random_paths(asked, seed))


def _with_paths(
    question: Question, paths: Callable[[ItemTree], np.ndarray], again: Callable[[Question], Question]
) -> Question:
    """The question with other paths, also where it is put anew."""
    ask = question.reask
    return replace(
        question,
        structure=ItemTree(paths(question.structure)),
        semantic=ItemTree(paths(question.semantic)),
        reask=None if ask is None else lambda train: again(ask(train)),
    )
