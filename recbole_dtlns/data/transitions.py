"""The users' histories in the order of time: what came before each step, and what came last, as sparse matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.data.interactions import TrainInteractions


@dataclass(frozen=True)
class Steps:
    """Every step of every user to an item from those before it; a user with n items makes n - 1.

    Attributes:
        before: the items before, the one that is d places back with the weight decay^(d - 1), CSR float32
            [n_steps, n_items].
        after: the item, with the weight 1, CSR float32 [n_steps, n_items].
    """

    before: sp.csr_array
    after: sp.csr_array


def steps(train: TrainInteractions, most: int, decay: float) -> Steps:
    """The steps of all users, in the order of time (`TrainInteractions.ages`).

    Args:
        train: the train interactions.
        most: items before a step that count, the nearest.
        decay: of their weight, by the distance.

    Raises:
        DataError: the data hold no times.
    """
    items, starts = _sequences(train)
    first = np.repeat(starts[:-1], np.diff(starts))
    place = np.arange(len(items))
    place = place[place > first]
    before = _weighed(train, items, np.maximum(first[place], place - most), place, decay)
    return Steps(before, _weighed(train, items, place, place + 1, decay))


def step_entries(train: TrainInteractions, most: int) -> int:
    """How many entries the two matrices of `steps` have."""
    made = np.maximum(np.diff(train.matrix.indptr).astype(np.int64) - 1, 0)
    short = np.minimum(made, most)
    return int((short * (short + 1) // 2 + (made - short) * most + made).sum())


def last_items(train: TrainInteractions, most: int, decay: float) -> sp.csr_array:
    """Every user's last items, the last with the weight 1, the one d places back with decay^d.

    Args:
        train: the train interactions.
        most: items of a user that count.
        decay: of the weight, by the distance to the last.

    Returns:
        CSR float32 [n_users, n_items].

    Raises:
        DataError: the data hold no times.
    """
    items, starts = _sequences(train)
    return _weighed(train, items, np.maximum(starts[:-1], starts[1:] - most), starts[1:], decay)


def _sequences(train: TrainInteractions) -> tuple[np.ndarray, np.ndarray]:
    """Items of all users one after the other, each user's oldest first, and where each user's begin (and the end)."""
    users, items = train.histories()
    starts = train.matrix.indptr.astype(np.int64)
    ordered = np.empty_like(items)
    ordered[starts[users + 1] - 1 - train.ages] = items
    return ordered, starts


def _weighed(
    train: TrainInteractions, items: np.ndarray, start: np.ndarray, stop: np.ndarray, decay: float
) -> sp.csr_array:
    """A row for each stretch items[start:stop]: decay^(distance to its last item)."""
    lengths = stop - start
    indptr = np.append(0, np.cumsum(lengths))
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
    distance = np.repeat(lengths, lengths) - 1 - within
    powers = np.power(decay, np.arange(lengths.max(initial=1), dtype=np.float64)).astype(np.float32)
    shape = (len(lengths), train.n_items)
    kind = np.int32 if max(indptr[-1], *shape) < 2**31 else np.int64
    columns = items[np.repeat(start, lengths) + within].astype(kind)
    return sp.csr_array((powers[distance], columns, indptr.astype(kind)), shape=shape)
