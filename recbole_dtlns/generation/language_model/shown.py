"""What is shown of users and items, as text: all of it comes from train pairs and from what the data say of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.numerics.top_entries import top_entries

NOTHING = "nothing"
_ITEMS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Shown:
    """Lines about users and items, made when they are looked at.

    Attributes:
        train: the train pairs, with `content`.
        latest: of a user's items, this many are shown.
        characters: of an item's or a user's text, this many are shown.

    Raises:
        ConfigError: the items say nothing.
    """

    train: TrainInteractions
    latest: int
    characters: int

    def __post_init__(self) -> None:
        if self.train.content is None or not any(self.train.content.texts):
            raise ConfigError(
                "dtlns_hnlmrec_generator: llm shows what items say: set dtlns_text_fields to fields of the .item file, "
                "such as [title]"
            )

    @cached_property
    def items(self) -> list[str]:
        """The text of every item; empty for one that says nothing."""
        texts = () if self.train.content is None else self.train.content.texts
        return [text[: self.characters].rstrip() for text in texts]

    def about(self, user: int) -> str:
        """What the .user file says of a user."""
        told = self.train.user_texts
        return told[user][: self.characters].rstrip() if told else ""

    def history(self, user: int) -> str:
        """The user's latest items, a line each, oldest first; each text once, at its latest place."""
        start, end = self.train.matrix.indptr[user : user + 2]
        texts = [self.items[item] for item in self._in_time[start:end][-self.latest :].tolist()]
        return "\n".join(reversed(dict.fromkeys(text for text in reversed(texts) if text)))

    def profile(self, user: int) -> str:
        """A user by template: what the .user file says, then the latest items."""
        return "\n".join(filter(None, (self.about(user), self.history(user)))) or NOTHING

    def beside(self, count: int) -> Iterator[str]:
        """For every item, the texts of so many others that most of its train users have, a line each."""
        users_of_items, matrix = self.train.matrix.T.tocsr(), self.train.matrix
        for start in range(0, self.train.n_items, _ITEMS_AT_ONCE):
            together = (users_of_items[start : start + _ITEMS_AT_ONCE] @ matrix).tocoo()
            row, item = together.coords
            other = row + start != item
            counts = sp.csr_array((together.data[other], (row[other], item[other])), shape=together.shape)
            rows, items, _ = top_entries(counts, count)
            ends = np.searchsorted(rows, np.arange(counts.shape[0] + 1))
            for first, last in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
                texts = dict.fromkeys(self.items[item] for item in items[first:last].tolist())
                yield "\n".join(filter(None, texts))

    @cached_property
    def _in_time(self) -> np.ndarray:
        """Items of all pairs, user after user, each user's in time where that is known."""
        users, items = self.train.histories()
        times = self.train.times
        return items if times is None else items[np.lexsort((items, times, users))]
