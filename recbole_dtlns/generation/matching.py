"""Real items that a pair may be trained against, by how near they lie to what was wanted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.generation.contract import GenerationTask
from recbole_dtlns.numerics.dense_algebra import one_thread
from recbole_dtlns.numerics.top_entries import top_of_dense

_SCORES_AT_ONCE = 4_000_000

Wanted = Callable[[slice], np.ndarray]


@one_thread
def nearest_free(task: GenerationTask, wanted: Wanted, count: int) -> np.ndarray:
    """The items nearest to what each train pair wants that its user has not, and that are no false negatives.

    Args:
        task: with the vectors of the items; those of which nothing is known are never named.
        wanted: the vectors that some pairs want, of length 1, float32 [b, d]; zeros for a pair that wants nothing.
        count: items for each pair at most.

    Returns:
        int32 [n_pairs, count], nearest first, equal ones by token; -1 where there are fewer.
    """
    train = task.train
    users, _ = train.histories()
    silent = ~task.vectors.any(axis=1)
    blocked = _blocked(task)
    found = np.full((len(users), count), -1, dtype=np.int32)
    step = max(1, _SCORES_AT_ONCE // train.n_items)
    for start in range(0, len(users), step):
        rows = slice(start, start + step)
        vectors = wanted(rows)
        scores = vectors @ task.vectors.T
        scores[:, silent] = -np.inf
        scores[~vectors.any(axis=1)] = -np.inf
        row, item, _ = top_of_dense(scores, blocked[users[rows]], count)
        found[start + row, np.arange(len(row)) - np.searchsorted(row, row)] = item
        task.progress(len(scores))
    return found


def _blocked(task: GenerationTask) -> sp.csr_array:
    """Observed pairs and false negatives, which no pair's item may be one of, CSR [n_users, n_items]."""
    users, items = task.train.histories()
    found = task.false_negatives
    rows, columns = np.concatenate([users, found.users]), np.concatenate([items, found.items])
    ones = np.ones(len(rows), dtype=np.float32)
    return sp.csr_array((ones, (rows, columns)), shape=task.train.matrix.shape)
