"""Which members of a council a judge believes: all but those without whom it ranks hidden pairs better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from recbole_dtlns.judges.learners import Examples, Logistic, held_out, ndcg_by_user


@dataclass(frozen=True)
class Cost:
    """What the ranking loses without a member.

    Attributes:
        ndcg: NDCG@20 of the hidden pairs, lost on average over users; below 0 where it is gained.
        error: standard error of this mean, paired by user.
    """

    ndcg: float
    error: float

    @property
    def is_gain(self) -> bool:
        """Whether the ranking is better without the member, by more than one standard error."""
        return self.ndcg < -self.error


@dataclass(frozen=True)
class Believed:
    """Who is believed, and why.

    Attributes:
        members: who stay, in the order given.
        left_out: what each of the others cost when it left, in the order in which they left.
        staying: what each of those who stay would cost without it; empty where nobody could be tried.
    """

    members: tuple[str, ...]
    left_out: dict[str, Cost] = field(default_factory=dict)
    staying: dict[str, Cost] = field(default_factory=dict)


def believed(examples: Examples, columns: Mapping[str, Sequence[int]], seed: int) -> Believed:
    """Backward elimination: who harms most leaves, as long as somebody does.

    The council ranks the candidates of users that it did not learn from, with all and without each; a member leaves
    when the ranking is better without it by more than one standard error. (To let everybody go who is not missed by
    more than that, as trees are pruned, cost up to 5 % of the recall on small data: what each adds cannot be told from
    chance there, and what all of them add can.) A regression learns, whatever learns in the end, as it is the cheapest.

    Args:
        examples: with hidden positives.
        columns: of the features, those of each member; others belong to nobody and stay.
        seed: of the folds.
    """
    members = tuple(columns)
    folds = [
        (known.thinned(seed), asked.of(np.isin(asked.users, asked.users[asked.answers])))
        for known, asked in held_out(examples, seed)
    ]

    def ranked_without(left: Sequence[str]) -> np.ndarray:
        return _ndcg(folds, columns_of([one for one in members if one not in left], columns, examples.n_features))

    present = ranked_without(())
    if len(present) < 2:  # no error can be told
        return Believed(members)
    left: dict[str, Cost] = {}
    while True:
        staying = [member for member in members if member not in left]
        tried = staying if len(staying) > 1 else []
        ranked = {member: ranked_without((*left, member)) for member in tried}
        costs = {member: _cost(present, without) for member, without in ranked.items()}
        harmful = [member for member in tried if costs[member].is_gain]
        if not harmful:
            return Believed(tuple(staying), left, costs)
        worst = min(harmful, key=lambda member: costs[member].ndcg)
        left[worst], present = costs[worst], ranked[worst]


def columns_of(members: Sequence[str], columns: Mapping[str, Sequence[int]], width: int) -> np.ndarray:
    """The columns, of so many, that remain where these members alone are believed, ascending."""
    unheard = [column for member, own in columns.items() if member not in members for column in own]
    return np.setdiff1d(np.arange(width), unheard)


def _ndcg(folds: Sequence[tuple[Examples, Examples]], heard: np.ndarray) -> np.ndarray:
    """NDCG@20 of every user with a hidden pair among the candidates, from these columns alone."""
    found = [
        ndcg_by_user(asked.users, Logistic(known.seeing(heard)).probability(asked.features[:, heard]), asked.answers)
        for known, asked in folds
    ]
    return np.concatenate([*found, np.empty(0)])


def _cost(present: np.ndarray, without: np.ndarray) -> Cost:
    lost = present - without
    return Cost(float(lost.mean()), float(lost.std(ddof=1) / math.sqrt(len(lost))))
