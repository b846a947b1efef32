"""Negatives that all rows of a batch share, and the correction that makes a softmax over them estimate the full one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.numerics.groups import expanded

SharedDraws = Annotated[
    int,
    Field(
        ge=1,
        description="sampled_softmax, gbce: negatives drawn per batch, from dtlns_pool (uniform or popularity), with "
        "importance correction.",
    ),
]


@dataclass(frozen=True)
class Shared:
    """Negatives of one batch.

    Attributes:
        items: distinct item ids [S].
        log_weight: log(times drawn / (draws * probability)) of each, float32 [S].
        rows, columns: where an item is blocked for a row's user, or is the row's positive: it is to be left out.
    """

    items: np.ndarray
    log_weight: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


class SharedNegatives:
    """Draws from one distribution over all items for the whole batch.

    With c_j draws of item j among S from probabilities q, sum_j c_j exp(s_j) / (S q_j) over the items that are not
    blocked for u has the expectation sum_j exp(s_j) over all such items (importance sampling; Bengio and Senecal 2008).

    Args:
        blocked: pairs that are no negatives.
        probability: q, of every item id; 0 for the padding [n_items].
        n_users: number of user ids.
    """

    def __init__(self, blocked: PairSet, probability: np.ndarray, n_users: int) -> None:
        self._cumulated = np.cumsum(probability)
        self._probability = probability
        self._items = blocked.items
        self._start = np.searchsorted(blocked.users, np.arange(n_users + 1))

    def draw(self, users: np.ndarray, positives: np.ndarray | None, uniform: np.ndarray) -> Shared:
        """The negatives of a batch.

        Args:
            users: of the rows [B].
            positives: items that are left out too, one per row [B]; None for none.
            uniform: one number in [0, 1) per draw [draws].
        """
        drawn = np.searchsorted(self._cumulated, uniform * self._cumulated[-1], side="right")
        items, times = np.unique(drawn, return_counts=True)
        log_weight = np.log(times / (len(uniform) * self._probability[items]))
        column = np.full(len(self._probability), -1)
        column[items] = np.arange(len(items))
        rows, blocked = expanded(self._start, users)
        left_out = self._items[blocked]
        if positives is not None:
            rows, left_out = np.concatenate([rows, np.arange(len(users))]), np.concatenate([left_out, positives])
        columns = column[left_out]
        inside = columns >= 0
        return Shared(items, log_weight.astype(np.float32), rows[inside], columns[inside])
