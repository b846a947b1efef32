"""The lists of every user: observed items, and those that the judge put first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_dtlns.data.item_sets import JudgedPairs, PairSet
from recbole_dtlns.numerics.groups import expanded, places


@dataclass(frozen=True)
class ListPlaces:
    """Which items are in the lists of a batch's users.

    Attributes:
        observed_rows, observed_items: of every observed pair, by row, int64 [n_observed].
        target_rows, target_items: of every target, by row, int64 [n_targets].
        target_probability: of the targets, float32 [n_targets].
    """

    observed_rows: np.ndarray
    observed_items: np.ndarray
    target_rows: np.ndarray
    target_items: np.ndarray
    target_probability: np.ndarray


class UserLists:
    """Observed items and targets of every user, in one id space.

    Targets are the judged pairs of the highest probability; of equal ones, those of smaller item ids. Pairs that are
    observed, or have no probability, are none.

    Args:
        observed: the train pairs.
        judged: pairs with their probabilities.
        most: targets per user at most.
        n_users: number of user ids.
    """

    def __init__(self, observed: PairSet, judged: JudgedPairs, most: int, n_users: int) -> None:
        width = int(max(observed.items.max(initial=0), judged.items.max(initial=0))) + 1
        known = np.isin(judged.users * width + judged.items, observed.users * width + observed.items)
        kept = np.flatnonzero(~known & (judged.probability > 0))
        order = kept[np.lexsort((judged.items[kept], -judged.probability[kept], judged.users[kept]))]
        users = judged.users[order]
        first = places(users) < most
        chosen, users = order[first], users[first]
        self._observed_items, self._target_items = observed.items, judged.items[chosen]
        self._probability = judged.probability[chosen].astype(np.float32)
        ids = np.arange(n_users + 1)
        self._observed_start, self._target_start = (np.searchsorted(each, ids) for each in (observed.users, users))
        self.users = np.unique(observed.users)
        self.pairs = PairSet.of(observed.users, observed.items).union(PairSet.of(users, self._target_items))

    def __len__(self) -> int:
        """How many targets there are."""
        return len(self._target_items)

    @property
    def users_with_targets(self) -> int:
        """How many users have one."""
        return int(np.count_nonzero(np.diff(self._target_start)))

    def of(self, users: np.ndarray) -> ListPlaces:
        """The lists of a batch's users [B]."""
        observed_rows, observed = expanded(self._observed_start, users)
        target_rows, targets = expanded(self._target_start, users)
        return ListPlaces(
            observed_rows,
            self._observed_items[observed],
            target_rows,
            self._target_items[targets],
            self._probability[targets],
        )

    def one_target(self, users: np.ndarray, uniform: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        """A target of each user, int64 [B].

        Args:
            users: ids [B].
            uniform: one number in [0, 1) per user.
            otherwise: the items of users who have none.
        """
        start, count = self._target_start[users], self._target_start[users + 1] - self._target_start[users]
        if len(self) == 0:
            return otherwise
        place = start + (uniform * count).astype(np.int64)
        return np.where(count > 0, self._target_items[np.minimum(place, len(self) - 1)], otherwise)
