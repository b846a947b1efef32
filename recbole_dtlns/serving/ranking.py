"""The best items of many users, a block of scores at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from recbole_dtlns.evaluation.rankings import Rankings
from recbole_dtlns.serving.histories import Histories

PADDING = 0  # the item that is none


class Scores(Protocol):
    """What a model thinks of items, in its own ids.

    Attributes:
        n_items: ids of items, the padding's included.
        scores_at_once: how many scores fit a block.
    """

    n_items: int
    scores_at_once: int

    def block(self, users: np.ndarray, items: np.ndarray | None) -> torch.Tensor:
        """Scores [B, n] of some items (None: of all ids) for users [B]; whoever asks may write into it."""

    def pairs(self, users: np.ndarray, items: np.ndarray) -> torch.Tensor:
        """Scores [n] of pairs."""


@dataclass(frozen=True)
class Excluded:
    """What is not recommended.

    Attributes:
        histories: to the user who has it in one of these.
        items: to nobody, ids [n].
    """

    histories: Sequence[Histories] = ()
    items: np.ndarray = field(default_factory=lambda: np.array([], dtype=np.int64))


def rank(
    scores: Scores, users: np.ndarray, k: int, excluded: Excluded, candidates: np.ndarray | None = None
) -> Iterator[Rankings]:
    """The k best items of every user, in blocks of users whose scores fit the memory.

    Args:
        scores: of the model.
        users: ids, int64 [n].
        k: length of the lists; a user with fewer items left gets these, and -1 past the end.
        excluded: what is left out of them.
        candidates: ids of the items that may be recommended, without repeats and at least one; None for all.
    """
    shown = np.arange(scores.n_items) if candidates is None else candidates
    column = np.full(scores.n_items, -1, dtype=np.int64)
    column[shown] = np.arange(len(shown))
    of_nobody = column[np.append(excluded.items, PADDING)]
    of_nobody = of_nobody[of_nobody >= 0]
    at_once = max(1, scores.scores_at_once // len(shown))
    for start in range(0, len(users), at_once):
        block = users[start : start + at_once]
        table = scores.block(block, candidates)
        table[:, torch.as_tensor(of_nobody, device=table.device)] = -torch.inf
        for histories in excluded.histories:
            rows, items = histories.of_users(block)
            columns = column[items]
            among = columns >= 0
            places = (torch.as_tensor(part[among], device=table.device) for part in (rows, columns))
            table[tuple(places)] = -torch.inf
        best = table.topk(min(k, len(shown)), dim=1)
        values = best.values.cpu().numpy().astype(np.float32)
        yield Rankings(block, np.where(np.isneginf(values), -1, shown[best.indices.cpu().numpy()]), values)
