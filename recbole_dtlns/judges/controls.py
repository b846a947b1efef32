"""Judges that show what another judge is worth: always, never, random, teacher rank, and shuffled trees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig, Seed
from recbole_dtlns.judges.contract import TEXT_VIEW, Judge, Label, Question, Rehearsal, Verdicts
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.teachers.council import Opinions
from recbole_dtlns.trees.item_tree import ItemTree


class ConstantJudge(Judge):
    """The same answer for every pair.

    Attributes:
        answer: which.
    """

    version = 1
    answer: Label

    def inputs(self) -> dict[str, Any]:
        return {"judge": self.answer.name}

    def judge(self, question: Question) -> Verdicts:
        """The same label for all candidates, with certainty."""
        n = len(question.candidates)
        return Verdicts(np.full(n, float(self.answer), np.float32), np.full(n, self.answer, np.int8))


class AlwaysJudge(ConstantJudge):
    """Each candidate is a false negative."""

    answer = Label.POSITIVE


class NeverJudge(ConstantJudge):
    """No candidate is a false negative."""

    answer = Label.NEGATIVE


class RandomJudge(Judge):
    """Positive with a fixed probability, whatever the pair."""

    class Config(ComponentConfig):
        """Settings of the random control."""

        prefix = "judge_random_"

        rate: float = Field(0.5, ge=0, le=1)
        """Share of positives."""
        seed: Seed = 42

    config: Config
    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"judge": "random", "rate": self.config.rate, "seed": self.config.seed}

    def judge(self, question: Question) -> Verdicts:
        """Independent draws; the probability reported is the rate, which is all this judge knows."""
        n = len(question.candidates)
        label = np.random.default_rng(self.config.seed).random(n) < self.config.rate
        return Verdicts(np.full(n, self.config.rate, np.float32), label.astype(np.int8))


class RankJudge(Judge):
    """Positive for the teacher's first candidates of every user: what the teacher knows without any judge."""

    class Config(ComponentConfig):
        """Settings of the control by rank."""

        prefix = "judge_rank_"

        first: int = Field(5, ge=1)
        """How many of a user's candidates are positive."""

    config: Config
    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"judge": "rank", "first": self.config.first}

    def judge(self, question: Question) -> Verdicts:
        """The probability is 1 / (1 + rank): an order, not an estimate."""
        ranks = question.candidates.ranks
        label = np.where(ranks < self.config.first, Label.POSITIVE, Label.NEGATIVE)
        return Verdicts((1 / (1 + ranks)).astype(np.float32), label.astype(np.int8))


class ShuffledJudge(Judge):
    """The structural rule on trees whose paths were dealt to the items at random: does the rule read the trees?"""

    class Config(StructuralJudge.Config):
        """Settings of the rule, and of the shuffle."""

        seed: Seed = 42

    config: Config
    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"judge": "shuffled", "threshold": self.config.threshold, "seed": self.config.seed}

    def judge(self, question: Question) -> Verdicts:
        """Structural verdicts under the shuffled paths."""
        rule = StructuralJudge(threshold=self.config.threshold)
        return rule.judge(with_shuffled_paths(question, self.config.seed))


def with_shuffled_paths(question: Question, seed: int) -> Question:
    """The same question on trees whose paths were dealt to the items at random; leaves keep their sizes.

    A rehearsal gets other paths too: a judge that learns from it must not learn from the true trees.
    """
    return _everywhere(question, lambda asked: replace(asked, views=_shuffled(asked, seed)))


def with_random_paths(question: Question, seed: int) -> Question:
    """The same question on trees in which every item has the path of a leaf drawn uniformly, in each tree anew.

    A rehearsal gets other paths too.
    """
    return _everywhere(question, lambda asked: replace(asked, views=_drawn(asked, seed)))


def without_member(question: Question, name: str) -> Question:
    """The same candidates without the opinions of one of the teachers that were asked, in a rehearsal too."""

    def leave_out(asked: Question) -> Question:
        return replace(asked, opinions=None if asked.opinions is None else asked.opinions.without(name))

    return _everywhere(question, leave_out)


def without_text(question: Question) -> Question:
    """The same candidates where items say nothing: without text tree and members that read text, in a rehearsal too."""

    def leave_out(asked: Question) -> Question:
        opinions = asked.opinions
        for member in () if opinions is None else opinions.of_text:
            opinions = opinions and opinions.without(member)
        views = {name: tree for name, tree in asked.views.items() if name != TEXT_VIEW}
        return replace(asked, train=replace(asked.train, content=None), views=views, opinions=opinions)

    return _everywhere(question, leave_out)


def with_shuffled_text(question: Question, seed: int) -> Question:
    """The same candidates where every item says what another one does; the text tree follows.

    What members that read text think of a user's pairs is dealt among these. A rehearsal is changed too: a judge that
    learns from it must not learn from the true texts.
    """

    def deal(asked: Question) -> Question:
        random = np.random.default_rng(seed)
        order = random.permutation(asked.train.n_items)
        content = asked.train.content
        views = {
            name: ItemTree(tree.digits[order]) if name == TEXT_VIEW else tree for name, tree in asked.views.items()
        }
        return replace(
            asked,
            train=replace(asked.train, content=None if content is None else content.dealt(order)),
            views=views,
            opinions=None
            if asked.opinions is None
            else _dealt(asked.opinions, asked.opinions.of_text, asked.candidates.users, random),
        )

    return _everywhere(question, deal)


def without_order(question: Question) -> Question:
    """The same candidates where nothing is known of times: without members that read order, in a rehearsal too.

    A structure tree that was grown from transitions stays: what it says, shuffled paths show.
    """

    def leave_out(asked: Question) -> Question:
        opinions = asked.opinions
        for member in () if opinions is None else opinions.of_order:
            opinions = opinions and opinions.without(member)
        return replace(asked, train=replace(asked.train, times=None, rows=None), opinions=opinions)

    return _everywhere(question, leave_out)


def with_shuffled_order(question: Question, seed: int) -> Question:
    """The same candidates where every user's pairs are in another order; their times are dealt among them.

    What members that read order think of a user's pairs is dealt among these. A rehearsal is changed too, but for what
    it hides.
    """

    def deal(asked: Question) -> Question:
        random, train = np.random.default_rng(seed), asked.train
        users, _ = train.histories()
        order = np.lexsort((random.random(len(users)), users))
        times, rows = (None if column is None else column[order] for column in (train.times, train.rows))
        return replace(
            asked,
            train=replace(train, times=times, rows=rows),
            opinions=None
            if asked.opinions is None
            else _dealt(asked.opinions, asked.opinions.of_order, asked.candidates.users, random),
        )

    return _everywhere(question, deal)


def _dealt(opinions: Opinions, members: Collection[str], users: np.ndarray, random: np.random.Generator) -> Opinions:
    """The opinions of some members, dealt among the pairs of each user."""
    order = np.lexsort((random.random(len(users)), users))
    columns = [place for place, name in enumerate(opinions.names) if name in members]
    ranks, strengths = opinions.ranks.copy(), opinions.strengths.copy()
    ranks[:, columns], strengths[:, columns] = opinions.ranks[order][:, columns], opinions.strengths[order][:, columns]
    return replace(opinions, ranks=ranks, strengths=strengths)


def _shuffled(question: Question, seed: int) -> Mapping[str, ItemTree]:
    order = np.random.default_rng(seed).permutation(question.train.n_items)
    return {name: ItemTree(tree.digits[order]) for name, tree in question.views.items()}


def _drawn(question: Question, seed: int) -> Mapping[str, ItemTree]:
    random = np.random.default_rng(seed)

    def draw(tree: ItemTree) -> np.ndarray:
        leaves = np.unique(tree.digits, axis=0)
        return leaves[random.integers(0, len(leaves), len(tree.digits))]

    return {name: ItemTree(draw(tree)) for name, tree in question.views.items()}


def _everywhere(question: Question, change: Callable[[Question], Question]) -> Question:
    rehearsal = None if question.rehearsal is None else _in_rehearsal(question.rehearsal, change)
    return replace(change(question), rehearsal=rehearsal)


def _in_rehearsal(rehearsal: Rehearsal, change: Callable[[Question], Question]) -> Rehearsal:
    return replace(
        rehearsal,
        question=_everywhere(rehearsal.question, change),
        actual=_everywhere(rehearsal.actual, change),
        more=tuple(_in_rehearsal(one, change) for one in rehearsal.more),
    )
