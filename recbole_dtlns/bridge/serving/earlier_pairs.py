"""Pairs that earlier models learnt from or were chosen by, by token: the ids of a run are its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from recbole.data.dataset import Dataset

from recbole_dtlns.data.item_sets import PairSet


@dataclass(frozen=True)
class TokenPairs:
    """Pairs of a user's and an item's token, str arrays [n]."""

    users: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=str))
    items: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=str))

    def __len__(self) -> int:
        return len(self.users)

    def where(self, kept: np.ndarray) -> Self:
        """Some of the pairs, bool [n]."""
        return type(self)(self.users[kept], self.items[kept])

    def union(self, other: Self) -> Self:
        """The pairs of both, without repeats."""
        both = dict.fromkeys([*self._listed(), *other._listed()])
        return type(self)(*(np.array([pair[place] for pair in both], dtype=str) for place in (0, 1)))

    def _listed(self) -> list[tuple[str, str]]:
        return list(zip(self.users.tolist(), self.items.tolist(), strict=True))

    def among(self, there: PairSet, part: Dataset) -> np.ndarray:
        """Which of them are among pairs in the ids of a part of a data set, bool [n]."""
        users, items = (
            np.array([part.field2token_id[name].get(token, -1) for token in tokens.tolist()], dtype=np.int64)
            for name, tokens in ((part.uid_field, self.users), (part.iid_field, self.items))
        )
        known = np.isin(users * part.item_num + items, there.users * part.item_num + there.items)
        return known & (users >= 0) & (items >= 0)


@dataclass(frozen=True)
class EarlierPairs:
    """What the models that a model began with knew.

    Attributes:
        learnt: pairs that one of them learnt from, and that are not in train.
        chosen: pairs that chose the epoch of one of them.
    """

    learnt: TokenPairs = field(default_factory=TokenPairs)
    chosen: TokenPairs = field(default_factory=TokenPairs)
