"""Verdicts to pseudo-positives and forbidden negatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from recbole_dtlns.blocks.work import over_blocks
from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.item_sets import Forbidden, PseudoPositives
from recbole_dtlns.judges.contract import Label, Verdicts
from recbole_dtlns.numerics.groups import places, whole_groups
from recbole_dtlns.teachers.contract import Candidates

VERSION = 3
_PAIRS_AT_ONCE = 1_000_000


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

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Relabelling:
        """From what `arrays` gives: columns of both sets, in their order."""
        users, items, place = (arrays[f"positive_{name}"] for name in ("users", "items", "places"))
        return cls(
            PseudoPositives(users, items, place, np.ones(len(users))),
            Forbidden(arrays["forbidden_users"], arrays["forbidden_items"]),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Columns of both sets by name, as they are kept."""
        return {
            "positive_users": self.positives.users,
            "positive_items": self.positives.items,
            "positive_places": self.positives.place,
            "forbidden_users": self.forbidden.users,
            "forbidden_items": self.forbidden.items,
        }

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
    columns = (candidates.users, candidates.items, verdicts.label, verdicts.probability)
    found = over_blocks(
        _relabelled,
        _Best(top, order),
        whole_groups(candidates.users, _PAIRS_AT_ONCE) or [slice(0, 0)],
        "relabelling",
        give=lambda pairs: _Judged(*(column[pairs] for column in columns)),
    )
    return Relabelling.of(found)


@dataclass(frozen=True)
class _Judged:
    users: np.ndarray
    items: np.ndarray
    label: np.ndarray
    probability: np.ndarray


@dataclass(frozen=True)
class _Best:
    top: int
    order: str


def _relabelled(best: _Best, judged: _Judged) -> dict[str, np.ndarray]:
    positive = np.flatnonzero(judged.label == Label.POSITIVE)
    if best.order == "probability":
        positive = positive[np.lexsort((-judged.probability[positive], judged.users[positive]))]
    users = judged.users[positive]
    place = places(users)  # candidates are ordered by user
    chosen = (best.top == 0) | (place < best.top)
    added = positive[chosen]
    positives = PseudoPositives.of(judged.users[added], judged.items[added], place[chosen])
    forbidden = Forbidden.of(users, judged.items[positive])
    return Relabelling(positives, forbidden).arrays()


def row_weights(place: np.ndarray, weight: float, decay: float) -> np.ndarray:
    """What added rows are worth beside an observed one, float64 [n].

    Args:
        place: of each pair among its user's pseudo-positives, from 0, int64 [n].
        weight: of the first.
        decay: the k-th of a user weighs weight / k ** decay.
    """
    return weight / (1.0 + place) ** decay
