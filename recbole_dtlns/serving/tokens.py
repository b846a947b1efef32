"""The users, or the items, that a model knows, by the tokens of the data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from recbole_dtlns.errors import DataError
from recbole_dtlns.registry import nearest

_NAMED = 10  # unknown tokens that a message names
_LONGEST = 100  # characters of them


class Tokens:
    """Tokens in the order of a model's ids. Id 0 is RecBole's padding, which no token stands for.

    Args:
        kind: what they name, in the plural, for messages.
        by_id: token of every id, the padding's first, [n].
    """

    def __init__(self, kind: str, by_id: np.ndarray) -> None:
        self.kind = kind
        self.by_id = by_id.astype(object)

    def __len__(self) -> int:
        return len(self.by_id)

    @property
    def known(self) -> np.ndarray:
        """All tokens, in the order of their ids, [n - 1]."""
        return self.by_id[1:]

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.known)

    def ids(self, tokens: Iterable[object]) -> np.ndarray:
        """Id of every token, int64; 0 for unknown ones. Numbers stand for the tokens that they are written as."""
        wanted = [tokens] if isinstance(tokens, str) else [str(token) for token in tokens]
        return self._index.get_indexer(pd.Index(wanted, dtype=object)).astype(np.int64) + 1

    def known_ids(self, tokens: Iterable[object]) -> np.ndarray:
        """Id of every token, int64.

        Raises:
            DataError: some are unknown; the first of them are named.
        """
        wanted = [tokens] if isinstance(tokens, str) else list(tokens)
        found = self.ids(wanted)
        if (found == 0).any():
            raise DataError(self.unknown([wanted[place] for place in np.flatnonzero(found == 0)]))
        return found

    def unknown(self, tokens: Sequence[object]) -> str:
        """How many tokens the model does not know, the first of them, and what is like it, for a message."""
        named = ", ".join(_shown(str(token)) for token in tokens[:_NAMED])
        more = ", ..." if len(tokens) > _NAMED else ""
        verb = "is" if len(tokens) == 1 else "are"
        said = f"{len(tokens)} of the {self.kind} asked for {verb} unknown to the model: {named}{more}"
        return said + self._near(tokens)

    def _near(self, tokens: Sequence[object]) -> str:
        """The known token that is most like the first unknown one; one alone is looked for, for it takes a while."""
        first = str(tokens[0])[:_LONGEST]
        found = nearest(first, self.known.tolist())
        if not found:
            return ""
        return f".{found}" if len(tokens) == 1 else f". For {_shown(first)}:{found}"


def _shown(token: str) -> str:
    """A token of any file on one line of a terminal."""
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in token[:_LONGEST])
    return shown if len(token) <= _LONGEST else f"{shown}..."
