"""Recommended items by token, best first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Recommendations:
    """The items recommended to some users.

    Attributes:
        users: tokens [U].
        items: tokens [U, k]; None past the end of a list.
        scores: float32 [U, k]; -inf past the end.
        columns: what the data set calls users and items, for tables.
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    columns: tuple[str, str] = ("user_id", "item_id")

    def __len__(self) -> int:
        return len(self.users)

    def __iter__(self) -> Iterator[tuple[str, list[tuple[str, float]]]]:
        """Every user with (item, score) pairs, best first."""
        for row, user in enumerate(self.users):
            length = int((~np.isneginf(self.scores[row])).sum())
            yield user, list(zip(self.items[row, :length], self.scores[row, :length].tolist(), strict=True))

    def table(self) -> pd.DataFrame:
        """A row for each: user, item, rank from 1, score."""
        shown = ~np.isneginf(self.scores)
        rows, places = np.nonzero(shown)
        user, item = self.columns
        return pd.DataFrame(
            {
                user: self.users[rows],
                item: self.items[shown],
                "rank": (places + 1).astype(np.int32),
                "score": self.scores[shown],
            }
        )
