"""The question put to a judge, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_dtlns.components import Component
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ContractError
from recbole_dtlns.numerics.groups import stretches
from recbole_dtlns.numerics.key_filter import KeyFilter
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.teachers.council import Opinions
from recbole_dtlns.trees.item_tree import ItemTree

TEXT_VIEW = "text"  # name of the item tree that is grown from what items say
_PAIRS_AT_ONCE = 1_000_000

if TYPE_CHECKING:
    from recbole_dtlns.judges.language_model.judge import LLMJudge


class Label(IntEnum):
    """A judge's answer for one pair: is the candidate a false negative?"""

    NEGATIVE = 0
    POSITIVE = 1
    ABSTAIN = 2


@dataclass(frozen=True)
class Pairs:
    """What a question holds of every pair that is asked about.

    Attributes:
        candidates: the pairs.
        opinions: what each of several teachers thinks of them; None where one was asked.
    """

    candidates: Candidates
    opinions: Opinions | None


@dataclass(frozen=True)
class Question:
    """All that a judge may look at; validation and test pairs are not part of it.

    Attributes:
        train: the users' observed histories.
        candidates: the pairs to be judged.
        views: item trees over the train items, by name.
        rehearsal: a question whose answer is known, for judges with the trait `rehearses`. None for other judges, and
            where it cannot be made: from a checkpoint as teacher, or a file of candidates.
        opinions: what each of several teachers thinks of the candidates; None where one was asked.
    """

    train: TrainInteractions
    candidates: Candidates
    views: Mapping[str, ItemTree]
    rehearsal: Rehearsal | None = None
    opinions: Opinions | None = None

    @property
    def structure(self) -> ItemTree:
        """The view of which items the same users have."""
        return self.views["structure"]

    @property
    def semantic(self) -> ItemTree:
        """The view of which items the teacher sees as alike."""
        return self.views["semantic"]

    def about(self, pairs: np.ndarray | slice) -> Question:
        """The same question about some of the pairs only, without a rehearsal.

        Args:
            pairs: their positions, ascending, or a stretch of them.
        """
        return self.asking(self.pairs(pairs))

    def pairs(self, pairs: np.ndarray | slice) -> Pairs:
        """Some of the pairs, as for `about`."""
        return Pairs(self.candidates.of(pairs), None if self.opinions is None else self.opinions.of(pairs))

    def asking(self, pairs: Pairs) -> Question:
        """The same question about other pairs, without a rehearsal."""
        return replace(self, candidates=pairs.candidates, opinions=pairs.opinions, rehearsal=None)

    def bare(self) -> Question:
        """The same about no pair, and without what users and items say: little to send."""
        train = replace(self.train, content=None, user_texts=())
        return replace(self.about(slice(0, 0)), train=train)

    def pair_keys(self, pairs: slice = slice(None)) -> np.ndarray:
        """One number per candidate pair, user * n_items + item, int64 [n_pairs], or of a stretch of the pairs."""
        return self.candidates.users[pairs].astype(np.int64) * self.train.n_items + self.candidates.items[pairs]


@dataclass(frozen=True)
class Rehearsal:
    """A question with known answers: train pairs are hidden, and teacher, candidates and trees are made without them.

    Attributes:
        question: about what is left; it is put as the actual one is.
        hidden: the hidden pairs as sorted keys user * n_items + item, int64.
        actual: the actual question on trees made as those of the rehearsal. Only where trees were given that may know
            the hidden pairs does it differ from the actual question: what is learnt on other trees would read the given
            ones wrongly.
        trees_not_read: names of the given trees that may know the hidden pairs, and have no part in this.
        more: further rehearsals with other pairs hidden, where one found few of them.
    """

    question: Question
    hidden: np.ndarray
    actual: Question
    trees_not_read: tuple[str, ...] = ()
    more: tuple[Rehearsal, ...] = ()

    @property
    def all(self) -> tuple[Rehearsal, ...]:
        """This one, and those with other pairs hidden."""
        return (self, *self.more)

    def answers(self) -> np.ndarray:
        """Whether each candidate is a hidden pair, bool [n_pairs]."""
        hidden, found = KeyFilter(self.hidden), np.zeros(len(self.question.candidates), dtype=bool)
        for pairs in stretches(len(found), _PAIRS_AT_ONCE):
            found[hidden.places_of(self.question.pair_keys(pairs)) + pairs.start] = True
        return found

    def of_some_users(self, most: int, seed: int) -> Rehearsal:
        """Asked about about `most` candidates, those of users taken at random; the same where there are no more."""
        users = self.question.candidates.users
        if len(users) <= most:
            return self
        taken = np.random.default_rng(seed).random(int(users[-1]) + 1) < most / len(users)
        return replace(self, question=self.question.about(taken[users]))


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
        return {label.name.lower(): int(np.count_nonzero(self.label == label)) for label in Label}


def check_verdicts(found: Verdicts, n: int, judge: str) -> Verdicts:
    """Refuse what is no answer to a question; returns the same verdicts.

    Args:
        found: what the judge returned.
        n: how many pairs it was asked about.
        judge: its name, for the message.

    Raises:
        ContractError: an answer is missing, or is none.
    """
    gave = f"the judge '{judge}' gave"
    if not isinstance(found, Verdicts):
        raise ContractError(f"{gave} {found!r:.200}, and no Verdicts")
    for name, values in (("probability", found.probability), ("label", found.label)):
        shape = getattr(values, "shape", None)
        if shape != (n,):
            raise ContractError(f"{gave} verdicts whose {name} has the shape {shape}: one for each of {n} pairs is due")
    for pairs in stretches(n, _PAIRS_AT_ONCE):
        label, probability = found.label[pairs], found.probability[pairs]
        wrong = ~np.isin(label, list(Label))
        if wrong.any():
            raise ContractError(f"{gave} the label {label[wrong][0]}: 0, 1 and 2 (abstains) are labels")
        wrong = (label != Label.ABSTAIN) & ~((probability >= 0) & (probability <= 1))  # NaN is neither
        if wrong.any():
            raise ContractError(
                f"{gave} the probability {probability[wrong][0]}, and did not abstain: it lies in [0, 1]"
            )
    return found


class Judge(Component):
    """Decides for every candidate pair whether it is a false negative.

    Attributes:
        version: of its code; raised when the same inputs give other verdicts.
        keeps_verdicts: whether the judge keeps its own verdicts, so that asking it twice costs nothing; the verdicts
            of other judges are kept as artefacts.
        rehearses: whether it learns from hidden train positives; its questions then come with a rehearsal.
        reads_text: whether it looks at what items say, `question.train.content`, as text or as vectors.
        reads_order: whether it looks at the order of histories, `question.train.ages`.
        called: what summaries call it, where the name in the settings says less; None for that name.
        llm: the judge that asks a language model: itself, or the one that it learns from; None where none is asked.
    """

    version: int
    keeps_verdicts: bool = False
    rehearses: bool = False
    reads_text: bool = False
    reads_order: bool = False
    called: str | None = None
    llm: LLMJudge | None = None

    def inputs(self) -> dict[str, Any]:
        """Plain data that, with the question, determines the verdicts."""
        raise NotImplementedError

    def judge(self, question: Question) -> Verdicts:
        """Answer for every candidate pair."""
        raise NotImplementedError

    def known(self, question: Question) -> Verdicts | None:
        """What a judge that keeps its verdicts has of the question's, the others as abstentions; nobody is asked.

        Returns:
            None where it has none, or cannot tell without judging.
        """
        return None

    def remark(self, facts: Mapping[str, Any]) -> str:
        """How the answers were got, in some words for the summary; empty where there is nothing to say.

        Args:
            facts: of the verdicts.
        """
        return ""
