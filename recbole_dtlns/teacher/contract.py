"""What a teacher is, and the candidates that are read off it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from recbole_dtlns.errors import DataError
from recbole_dtlns.interactions import TrainInteractions

_CHUNK_SCORES = 16_000_000  # scores held at once: 128 MB of float64


class FittedTeacher(Protocol):
    """A teacher after training.

    Attributes:
        item_vectors: float32 [n_items, d], the "latent semantics" of the items.
    """

    item_vectors: np.ndarray

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores of all items for canonical user ids [B]: float [B, n_items]; -inf means "no evidence"."""
        ...


class Teacher(Protocol):
    """A recommender to be fitted on train pairs only.

    Attributes:
        version: of its code; raised when the same inputs give another result.
    """

    version: int

    def inputs(self) -> dict[str, Any]:
        """Plain data that, with the train pairs, determines what `fit` returns."""
        ...

    def fit(self, train: TrainInteractions) -> FittedTeacher:
        """Fit on the train pairs."""
        ...


@dataclass(frozen=True)
class Candidates:
    """Candidate pairs in canonical ids, ordered by user and, within a user, best first.

    Attributes:
        users, items: int32 [n_pairs].
        ranks: 0 for the teacher's best unobserved item of the user, int32 [n_pairs].
        scores: the teacher's scores, float32 [n_pairs].
    """

    users: np.ndarray
    items: np.ndarray
    ranks: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.users)


def top_candidates(
    fitted: FittedTeacher, train: TrainInteractions, k: int, progress: Callable[[int], object] = lambda users: None
) -> Candidates:
    """The k best-scored unobserved items of every user with a train pair.

    Equal scores are ordered by item token. A user with fewer than k scored, unobserved items gets fewer.

    Args:
        fitted: a teacher fitted on `train`.
        train: the train interactions; its pairs are never candidates.
        k: candidates per user.
        progress: called with the number of users just done.

    Raises:
        DataError: the teacher's scores hold NaN or +infinity.
    """
    users, items, ranks, scores = [], [], [], []
    width = min(k, train.n_items)
    step = max(1, _CHUNK_SCORES // train.n_items)
    for start in range(0, train.n_users, step):
        chunk = np.arange(start, min(start + step, train.n_users))
        values = np.array(fitted.scores(chunk), dtype=np.float64)
        diverged = ~(values < np.inf).all(axis=1)
        if diverged.any():
            raise DataError(
                f"the teacher's scores for user '{train.user_tokens[chunk[diverged.argmax()]]}' hold NaN or +infinity; "
                "lower its learning rate or choose another"
            )
        seen = train.matrix[chunk].tocoo()
        values[seen.coords] = -np.inf
        last = -np.partition(-values, width - 1, axis=1)[:, width - 1 : width]
        above, tied = values > last, values == last
        room = width - above.sum(axis=1, keepdims=True)  # which of the items tied for it get in: the first by token
        best = np.nonzero(above | (tied & (tied.cumsum(axis=1) <= room)))[1].reshape(len(chunk), width)
        best_values = np.take_along_axis(values, best, axis=1)
        order = np.argsort(-best_values, axis=1, kind="stable")
        best, best_values = np.take_along_axis(best, order, axis=1), np.take_along_axis(best_values, order, axis=1)
        row, rank = np.nonzero(np.isfinite(best_values))
        users.append(chunk[row])
        ranks.append(rank)
        items.append(best[row, rank])
        scores.append(best_values[row, rank])
        progress(len(chunk))
    return Candidates(
        np.concatenate(users).astype(np.int32),
        np.concatenate(items).astype(np.int32),
        np.concatenate(ranks).astype(np.int32),
        np.concatenate(scores).astype(np.float32),
    )
