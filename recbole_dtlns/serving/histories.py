"""The items of every user, for all users at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_dtlns.data.item_sets import PairSet


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

    def of_user(self, user: int) -> np.ndarray:
        """Items of one user, ascending."""
        return self.items[self.ends[user - 1] if user else 0 : self.ends[user]]

    def of_users(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Place in `users` and item, int64 each, of everything that these users have."""
        starts = np.where(users > 0, self.ends[users - 1], 0)
        lengths = self.ends[users] - starts
        rows = np.repeat(np.arange(len(users)), lengths)
        places = np.arange(len(rows)) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        return rows, self.items[places].astype(np.int64)
