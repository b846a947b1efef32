"""What a teacher is, and the candidates that are read off it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.blocks.work import over_blocks
from recbole_dtlns.components import Component
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ContractError, DataError
from recbole_dtlns.numerics.groups import places, stretches
from recbole_dtlns.numerics.key_filter import KeyFilter
from recbole_dtlns.numerics.top_entries import above_mean, top_entries, top_of_dense

_SCORES_AT_ONCE = 4_000_000
_USERS_AT_ONCE = 1024


class FittedTeacher(Protocol):
    """A teacher after training.

    Attributes:
        item_vectors: float32 [n_items, d], the "latent semantics" of the items.

    One whose scores of a user are the same, to the last bit, whoever is asked about at once may say so, by an attribute
    `scores_by_row = True`: its candidates are then found for blocks of users side by side, on other machines too. One
    whose settings the data decide may say what they decided, by an attribute `note`, for the summary.
    """

    item_vectors: np.ndarray

    def scores(self, users: np.ndarray) -> np.ndarray | sp.csr_array:
        """Scores of items for canonical user ids [B], float [B, n_items].

        Dense, where -inf means "no evidence", or CSR, where an item without evidence has no entry: for a teacher that
        scores few of many items, this is what keeps time and memory from growing with users x items.
        """
        ...


class Teacher(Component):
    """A recommender to be fitted on train pairs only.

    Attributes:
        version: of its code; raised when the same inputs give another result.
        saved: whether it was fitted before, on pairs that can no longer be hidden from it.
        reads_text: whether it looks at `train.text_vectors`, which then are part of what its result is kept by.
        reads_order: whether it looks at `train.ages` or times; the order is then part of what its result is kept by.
    """

    version: int
    saved: bool = False
    reads_text: bool = False
    reads_order: bool = False

    def inputs(self) -> dict[str, Any]:
        """Plain data that, with the train pairs, determines what `fit` returns."""
        raise NotImplementedError

    def fit(self, train: TrainInteractions) -> FittedTeacher:
        """Fit on the train pairs.

        A teacher that takes long may have another argument, `progress: Callable[[int], object]` with a default: where
        somebody watches, it is called with the number of items just done, n_items in all.
        """
        raise NotImplementedError

    @property
    def tells_progress(self) -> bool:
        """Whether `fit` has an argument `progress`."""
        return "progress" in inspect.signature(self.fit).parameters


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

    def of(self, pairs: np.ndarray | slice) -> Candidates:
        """Some of them: positions, ascending, a mask, or a stretch of them."""
        return Candidates(self.users[pairs], self.items[pairs], self.ranks[pairs], self.scores[pairs])


def top_candidates(
    fitted: FittedTeacher, train: TrainInteractions, k: int, progress: Callable[[int], object] = lambda users: None
) -> Candidates:
    """The k best-scored unobserved items of every user with a train pair.

    Equal scores are ordered by item token. A user with fewer than k scored, unobserved items gets fewer.

    Args:
        fitted: a teacher fitted on `train`.
        train: the train interactions; its pairs, and those labelled as not liked, are never candidates.
        k: candidates per user.
        progress: called with the number of users just done.

    Raises:
        DataError: the teacher's scores hold NaN or +infinity.
        ContractError: they are no scores of these users and items.
    """
    labelled = train.labelled

    def asked(users: slice) -> _Asked:
        return _Asked(users, labelled[users], train.user_tokens[users])

    whole = _Scored(fitted, k)
    if getattr(fitted, "scores_by_row", False):
        blocks = stretches(train.n_users, _USERS_AT_ONCE)
        found = over_blocks(_best_of_users, whole, blocks, "candidates", progress, asked)
    else:
        found = _best_of_users(whole, asked(slice(0, train.n_users)), progress)
    return Candidates(**found)


@dataclass(frozen=True)
class _Scored:
    fitted: FittedTeacher
    k: int


@dataclass(frozen=True)
class _Asked:
    users: slice
    labelled: sp.csr_array
    tokens: np.ndarray


def _best_of_users(
    whole: _Scored, asked: _Asked, progress: Callable[[int], object] = lambda users: None
) -> dict[str, np.ndarray]:
    found: list[tuple[np.ndarray, ...]] = []
    first, n_items = asked.users.start, asked.labelled.shape[1]
    start, step = first, max(1, _SCORES_AT_ONCE // n_items)
    while start < asked.users.stop:
        chunk = np.arange(start, min(start + step, asked.users.stop))
        scores = whole.fitted.scores(chunk)
        wanted_shape = (len(chunk), n_items)
        if not isinstance(scores, (np.ndarray, sp.csr_array)) or scores.shape != wanted_shape:
            found_shape = getattr(scores, "shape", None)
            raise ContractError(
                f"the teacher's scores are a {type(scores).__name__} of the shape {found_shape}; due is an array or a "
                f"csr_array, users x items, {wanted_shape}"
            )
        held = scores.nnz if isinstance(scores, sp.csr_array) else scores.size
        _refuse_diverged(scores, asked.tokens[chunk - first])
        best = _best_stored if isinstance(scores, sp.csr_array) else top_of_dense
        rows, items, values = best(scores, asked.labelled[chunk - first], whole.k)
        _refuse_repeated(rows, items, n_items)
        owners, ranks = chunk[rows].astype(np.int32), places(rows).astype(np.int32)
        found.append((owners, items.astype(np.int32), ranks, values.astype(np.float32)))
        start += len(chunk)
        # Sparse scores take less room than all items would; how much less is known from the users before.
        step = min(4 * step, max(1, int(_SCORES_AT_ONCE * len(chunk) / max(held, 1))))
        progress(len(chunk))
    columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return dict(zip(("users", "items", "ranks", "scores"), columns, strict=True))


def _refuse_repeated(rows: np.ndarray, items: np.ndarray, n_items: int) -> None:
    keys = np.sort(rows * n_items + items)
    if len(items) and (items.max() >= n_items or bool((keys[1:] == keys[:-1]).any())):
        raise ContractError("the teacher's sparse scores name an item twice for one user, or an item that there is not")


def _refuse_diverged(scores: np.ndarray | sp.csr_array, users: np.ndarray) -> None:
    values = scores.data if isinstance(scores, sp.csr_array) else scores
    if values.size and not values.max() < np.inf:  # NaN is not below either
        stored = scores.tocoo() if isinstance(scores, sp.csr_array) else sp.coo_array(scores)
        diverged = stored.coords[0][~(stored.data < np.inf)]
        raise DataError(
            f"the teacher's scores for user '{users[diverged.min()]}' hold NaN or +infinity; "
            "lower its learning rate or choose another"
        )


def _best_stored(scores: sp.csr_array, seen: sp.csr_array, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, items and scores of the k largest entries that are not seen, by row, best first, ties by item."""
    n_rows, n_items = scores.shape
    needed = k + np.diff(seen.indptr)
    scores = above_mean(scores.astype(np.float32, copy=False), needed)
    scores = above_mean(scores, needed)  # what is above the mean of those above the mean is few
    entry = np.repeat(np.arange(n_rows) * n_items, np.diff(scores.indptr)) + scores.indices
    known = np.repeat(np.arange(n_rows) * n_items, np.diff(seen.indptr)) + seen.indices
    scores.data[KeyFilter(known).places_of(entry)] = -np.inf  # a copy: the teacher's own scores stay
    rows, items, best = top_entries(scores, k)
    scored = best > -np.inf
    return rows[scored], items[scored], best[scored]
