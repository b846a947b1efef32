"""The tokens of a data set that has grown, then and now, and the rows of tables that are about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

_NAMED = 3


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one field, then and now.

    Attributes:
        before, now: ids of the tokens that both know, then and now, int64 [n].
        new: ids that are new now, int64.
        n_before, n_now: of all ids, the padding's included.
        gone, added: some tokens that only one of the two knows, for the log.
        n_gone: how many are known no more.
    """

    before: np.ndarray
    now: np.ndarray
    new: np.ndarray
    n_before: int
    n_now: int
    gone: list[str]
    added: list[str]
    n_gone: int

    @classmethod
    def of(cls, before: np.ndarray, now: Mapping[str, int]) -> Self:
        """From the tokens by id then, and the ids by token now."""
        ids = np.array([now.get(token, -1) for token in before.tolist()], dtype=np.int64)
        known = np.flatnonzero(ids >= 0)
        new = np.setdiff1d(np.arange(len(now)), ids[known])
        tokens = {place: token for token, place in now.items()}
        gone = np.flatnonzero(ids < 0)
        return cls(
            known,
            ids[known],
            new,
            len(before),
            len(now),
            before[gone[:_NAMED]].tolist(),
            [tokens[place] for place in new[:_NAMED].tolist()],
            len(gone),
        )

    @property
    def renumbered(self) -> bool:
        """Whether an id means another token now."""
        return self.n_before != self.n_now or not np.array_equal(self.before, self.now)

    def sentence(self, kind: str, of_neighbours: int) -> str:
        """For the log."""
        new = f"{len(self.new)} new{_some(self.added)}"
        if of_neighbours:
            new += f", {of_neighbours} of them begin as the mean of their neighbours"
        return f"{kind}: {len(self.now) - 1} matched, {new}; {self.n_gone} gone{_some(self.gone)}"


def _some(tokens: list[str]) -> str:
    return f" ({', '.join(map(str, tokens))}{' ...' if len(tokens) == _NAMED else ''})" if tokens else ""


@dataclass(frozen=True)
class Rows:
    """What the rows of a table are.

    Attributes:
        fields: they are the tokens of these, one field behind the other.
        padded: whether the first row of each is its padding; tables without have one row less.
        more: rows behind them that are no tokens, such as that of a mask.
        order: of features: all columns that the layers after the table read, by their place.
    """

    fields: tuple[str, ...]
    padded: bool = True
    more: int = 0
    order: tuple[str, ...] = ()

    def sizes(self, vocabularies: Mapping[str, Vocabulary]) -> tuple[int, int]:
        """How many rows there were, and are."""
        ends = [self._place(vocabularies, len(self.fields), now) for now in (False, True)]
        return ends[0] + self.more, ends[1] + self.more

    def matched(self, vocabularies: Mapping[str, Vocabulary]) -> tuple[np.ndarray, np.ndarray]:
        """Rows then and rows now of what both know, int64 [n] each."""
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for place, field in enumerate(self.fields):
            one = vocabularies[field]
            kept = slice(None) if self.padded else one.now > 0
            starts = [self._place(vocabularies, place, now) - (not self.padded) for now in (False, True)]
            found.append((one.before[kept] + starts[0], one.now[kept] + starts[1]))
        behind = np.arange(self.more)
        then, now = self.sizes(vocabularies)
        found.append((behind + then - self.more, behind + now - self.more))
        before, after = (np.concatenate(rows) for rows in zip(*found, strict=True))
        return before, after

    def parts(self, vocabularies: Mapping[str, Vocabulary]) -> dict[str, slice]:
        """By field: where its rows are now."""
        ends = [self._place(vocabularies, place, True) for place in range(len(self.fields) + 1)]
        return {field: slice(*ends[place : place + 2]) for place, field in enumerate(self.fields)}

    def _place(self, vocabularies: Mapping[str, Vocabulary], place: int, now: bool) -> int:
        """The row that the tokens of a field begin at."""
        known = [vocabularies[field] for field in self.fields[:place]]
        return sum((one.n_now if now else one.n_before) - (not self.padded) for one in known)
