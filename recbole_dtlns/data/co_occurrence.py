"""How many users two items share, without ever holding all pairs of items."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.numerics.dense_algebra import side_by_side
from recbole_dtlns.numerics.top_entries import top_entries

Weigh = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
MAX_HISTORY = 1000
_PRODUCTS_AT_ONCE = 4_000_000


def co_occurrence_blocks(
    train: TrainInteractions, max_history: int = MAX_HISTORY
) -> Iterator[tuple[int, sp.csr_array]]:
    """Blocks of rows of R^T R: the number of users that each two items share.

    A user with h items makes h^2 pairs of items, so a few heavy users would make most of the work. Of users with more
    than `max_history` = H items, H are drawn at random and each of their pairs counts h (h - 1) / (H (H - 1)) times:
    in expectation the number is the same, and the time is at most H x interactions.

    Yields:
        the first item of the block, and CSR float32 [items of the block, n_items]; the diagonal is an item's number of
        users where no history is cut.
    """
    matrix = cut_histories(train, max_history)
    by_item, blocks = _blocks(matrix)
    for block in blocks:
        yield block.start, sp.csr_array(by_item[block] @ matrix)


def strongest_items(
    train: TrainInteractions,
    weigh: Weigh,
    k: int,
    max_history: int = MAX_HISTORY,
    user_weights: np.ndarray | None = None,
) -> sp.csr_array:
    """Every item's k largest weights to other items with which it shares users; equal ones by item id.

    Args:
        train: the train interactions.
        weigh: weights of pairs from item, other item and the number of users they share, three arrays of one length.
        k: others kept per item; weights of 0 are not kept.
        max_history: items of a user that count.
        user_weights: how much each user counts in the number of users that two items share [n_users]; None: 1.

    Returns:
        CSR float32 [n_items, n_items], a row per item, columns in no order.
    """
    matrix = cut_histories(train, max_history)
    if user_weights is not None:
        roots = np.repeat(np.sqrt(user_weights).astype(np.float32), np.diff(matrix.indptr))
        matrix = sp.csr_array((matrix.data * roots, matrix.indices, matrix.indptr), shape=matrix.shape)
    by_item, blocks = _blocks(matrix)
    narrow = np.int32 if train.n_items * min(k, train.n_items) < 2**31 else np.int64
    found: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def search(number: int) -> None:
        block = blocks[number]
        shared = sp.csr_array(by_item[block] @ matrix)
        items = block.start + np.repeat(np.arange(shared.shape[0]), np.diff(shared.indptr))
        weights = weigh(items, shared.indices, shared.data)
        shared.data = np.where(items != shared.indices, weights, 0).astype(np.float32)
        shared.eliminate_zeros()
        rows, others, values = top_entries(shared, k)
        found[number] = np.bincount(rows, minlength=shared.shape[0]), others.astype(narrow), values

    with side_by_side() as run:
        run(search, range(len(blocks)))
    counts, others, values = (
        np.concatenate(parts) for parts in zip(*(found[number] for number in range(len(blocks))), strict=True)
    )
    indptr = np.append(0, np.cumsum(counts)).astype(narrow)
    return sp.csr_array((values, others, indptr), shape=(train.n_items, train.n_items))


def _blocks(matrix: sp.csr_array) -> tuple[sp.csr_array, list[slice]]:
    """The matrix by item, and blocks of items of about equal work."""
    by_item = sp.csr_array(matrix.T)
    lengths = np.diff(matrix.indptr)
    products = np.append(0, np.cumsum(lengths[by_item.indices], dtype=np.int64))[by_item.indptr]  # before each item
    n_items, blocks = matrix.shape[1], []
    start = 0
    while start < n_items:
        stop = int(np.searchsorted(products, products[start] + _PRODUCTS_AT_ONCE, side="right")) - 1
        stop = min(max(stop, start + 1), n_items)
        blocks.append(slice(start, stop))
        start = stop
    return by_item, blocks


def cut_histories(train: TrainInteractions, max_history: int = MAX_HISTORY) -> sp.csr_array:
    """The train matrix with histories cut to a random `max_history` items, if they are longer.

    What is left of them is weighed so that R^T R is, off the diagonal and in expectation, that of the whole.
    """
    matrix, lengths = train.narrow, np.diff(train.matrix.indptr)
    if lengths.max() <= max_history:
        return matrix
    users, _ = train.histories()
    order = np.lexsort((np.random.default_rng(0).random(len(users)), users))
    kept = np.sort(order[np.arange(len(users)) - matrix.indptr[users] < max_history])
    shown, pairs = np.minimum(lengths, max_history), lengths * (lengths - 1.0)
    scale = np.sqrt(np.where(lengths > max_history, pairs / np.maximum(shown * (shown - 1.0), 1.0), 1.0))
    indptr = np.append(0, np.cumsum(shown)).astype(matrix.indptr.dtype)
    return sp.csr_array((scale[users[kept]].astype(np.float32), matrix.indices[kept], indptr), shape=matrix.shape)
