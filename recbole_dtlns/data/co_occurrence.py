"""How many users two items share, without ever holding all pairs of items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.blocks.work import over_blocks
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.numerics.groups import of_bounded_size
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
    by_item = sp.csr_array(matrix.T)
    for block in _blocks(by_item, matrix):
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
    return strongest_entries(sp.csr_array(matrix.T), matrix, weigh, k)


def strongest_entries(left: sp.csr_array, right: sp.csr_array, weigh: Weigh, k: int) -> sp.csr_array:
    """The k largest weights of every row of a product, of which a block of rows is held at a time.

    Args:
        left, right: the factors, CSR float32 [n, m] and [m, n].
        weigh: weights of entries from their row, their column and what the product has there; an instance of a class
            of a module, or a function of one, where others than this process may work on blocks.
        k: entries kept per row, none of them on the diagonal; weights of 0 are not kept, equal ones are by column.

    Returns:
        CSR float32 [n, n], columns in no order.
    """
    found = over_blocks(_strongest, _Product(left, right, weigh, k), _blocks(left, right), "strongest")
    narrow = _narrow(right.shape[1], k)
    indptr = np.append(0, np.cumsum(found["counts"])).astype(narrow)
    return sp.csr_array((found["values"], found["columns"], indptr), shape=(left.shape[0], right.shape[1]))


@dataclass(frozen=True)
class _Product:
    left: sp.csr_array
    right: sp.csr_array
    weigh: Weigh
    k: int


def _strongest(whole: _Product, block: slice) -> dict[str, np.ndarray]:
    product = sp.csr_array(whole.left[block] @ whole.right)
    rows = block.start + np.repeat(np.arange(product.shape[0]), np.diff(product.indptr))
    weights = whole.weigh(rows, product.indices, product.data)
    product.data = np.where(rows != product.indices, weights, 0).astype(np.float32)
    product.eliminate_zeros()
    rows, columns, values = top_entries(product, whole.k)
    counts = np.bincount(rows, minlength=product.shape[0])
    return {"counts": counts, "columns": columns.astype(_narrow(product.shape[1], whole.k)), "values": values}


def _narrow(n: int, k: int) -> type[np.signedinteger]:
    """Of the indices of k entries in each of n rows."""
    return np.int32 if n * min(k, n) < 2**31 else np.int64


def _blocks(left: sp.csr_array, right: sp.csr_array) -> list[slice]:
    """Blocks of rows of a product that take about as much work."""
    lengths = np.diff(right.indptr)
    products = np.append(0, np.cumsum(lengths[left.indices], dtype=np.int64))[left.indptr]  # before each row
    return of_bounded_size(products, _PRODUCTS_AT_ONCE)


def cut_histories(train: TrainInteractions, max_history: int = MAX_HISTORY) -> sp.csr_array:
    """The train matrix with histories cut to a random `max_history` items, if they are longer.

    What is left of them is weighed so that R^T R is, off the diagonal and in expectation, that of the whole.
    """
    matrix, lengths = train.matrix, np.diff(train.matrix.indptr)
    if lengths.max() <= max_history:
        return matrix
    users, _ = train.histories()
    order = np.lexsort((np.random.default_rng(0).random(len(users)), users))
    kept = np.sort(order[np.arange(len(users)) - matrix.indptr[users] < max_history])
    shown, pairs = np.minimum(lengths, max_history), lengths * (lengths - 1.0)
    scale = np.sqrt(np.where(lengths > max_history, pairs / np.maximum(shown * (shown - 1.0), 1.0), 1.0))
    indptr = np.append(0, np.cumsum(shown)).astype(matrix.indptr.dtype)
    return sp.csr_array((scale[users[kept]].astype(np.float32), matrix.indices[kept], indptr), shape=matrix.shape)
