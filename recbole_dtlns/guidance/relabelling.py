"""Verdicts to pseudo-positives and forbidden negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.item_sets import Forbidden, PseudoPositives
from recbole_dtlns.judges.contract import Label, Verdicts
from recbole_dtlns.teachers.contract import Candidates

VERSION = 3


class RowWeights(ComponentConfig):
    """What added rows are worth."""

    prefix = ""

    relabel_weight: float = Field(0.3, gt=0)
    """Weight of an added row's ranking loss; an observed row's is 1, and the regularisation of a model with a BPR term
    knows no weights. Above 1 the model learns more from the judge than from the data."""
    relabel_decay: float = Field(0.0, ge=0)
    """The k-th best of a user's added rows weighs relabel_weight / k ** decay; 0: all the same."""


@dataclass(frozen=True)
class Relabelling:
    """What the positive verdicts become, in canonical ids.

    Attributes:
        positives: pairs added as positives: the best positive verdicts of every user.
        forbidden: pairs never drawn as negatives: all positive verdicts.
    """

    positives: PseudoPositives
    forbidden: Forbidden

    def facts(self) -> dict[str, Any]:
        """Counts for the summary."""
        return {
            "positives": len(self.positives),
            "users_with_positives": int(np.count_nonzero(np.bincount(self.positives.users))),
            "forbidden": len(self.forbidden),
        }


def relabel(candidates: Candidates, verdicts: Verdicts, top: int, order: str = "rank") -> Relabelling:
    """Turn verdicts into item sets.

    Args:
        candidates: the judged pairs, best first within a user.
        verdicts: one per candidate.
        top: at most this many pseudo-positives per user; 0 means all.
        order: which come first, by the teacher's `rank` or by the judge's `probability` (equal ones by rank).
    """
    positive = np.flatnonzero(verdicts.label == Label.POSITIVE)
    if order == "probability":
        positive = positive[np.lexsort((-verdicts.probability[positive], candidates.users[positive]))]
    users = candidates.users[positive]
    first = np.searchsorted(users, users)  # candidates are ordered by user: where each user's positives begin
    place = np.arange(len(users)) - first
    chosen = (top == 0) | (place < top)
    added = positive[chosen]
    return Relabelling(
        PseudoPositives.of(candidates.users[added], candidates.items[added], place[chosen]),
        Forbidden.of(candidates.users[positive], candidates.items[positive]),
    )


def row_weights(place: np.ndarray, weight: float, decay: float) -> np.ndarray:
    """What added rows are worth beside an observed one, float64 [n].

    Args:
        place: of each pair among its user's pseudo-positives, from 0, int64 [n].
        weight: of the first.
        decay: the k-th of a user weighs weight / k ** decay.
    """
    return weight / (1.0 + place) ** decay
