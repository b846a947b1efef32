"""The items of every user, for all users at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.numerics.groups import expanded


@dataclass(frozen=True)
class Histories:
    """Items by user, four bytes each.

    Attributes:
        items: of the users in order, int32 [n].
        ends: where each user's items end, int64 [n_users].
    """

    items: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, pairs: PairSet, n_users: int) -> Histories:
        """The pairs of users below a number."""
        return cls(pairs.items.astype(np.int32), np.cumsum(np.bincount(pairs.users, minlength=n_users)))

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def _start(self) -> np.ndarray:
        return np.append(0, self.ends)

    def pairs(self) -> PairSet:
        """All of them as pairs."""
        users = np.repeat(np.arange(len(self.ends)), np.diff(self._start))
        return PairSet(users, self.items.astype(np.int64))

    def of_user(self, user: int) -> np.ndarray:
        """Items of one user, ascending."""
        return self.items[self._start[user] : self._start[user + 1]]

    def of_users(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Place in `users` and item, int64 each, of everything that these users have."""
        rows, places = expanded(self._start, users)
        return rows, self.items[places].astype(np.int64)
