"""The largest entries of every row of a matrix, sparse or dense."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

_ENTRIES_AT_ONCE = 1_000_000  # 8 MB of keys: they stay in the cache


def top_entries(matrix: sp.csr_array, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k largest stored entries of every row; a row with fewer gives all it has.

    Row, value and column are packed into one 64-bit key, so a plain sort, the fastest there is, orders entries by row,
    then value, and equal values by column.

    Args:
        matrix: CSR float32 [n, m] without NaN, columns in any order, m below 2^31.
        k: entries per row.

    Returns:
        rows and columns, int64, and values, float32; by row, then largest first, equal ones by column.
    """
    column_bits = max(1, int(matrix.shape[1] - 1).bit_length())
    most_rows = 2 ** (32 - column_bits)
    ends = matrix.indptr[1:]
    rows, columns, values = [], [], []
    start = 0
    while start < matrix.shape[0]:
        first = matrix.indptr[start]
        most = min(_ENTRIES_AT_ONCE, int(ends[-1]) - int(first))  # so that numbers of 32 bits hold the sum
        stop = int(np.searchsorted(ends, first + most, side="right"))
        stop = min(max(stop, start + 1), start + most_rows, matrix.shape[0])
        counts = np.diff(matrix.indptr[start : stop + 1])
        part = slice(first, matrix.indptr[stop])
        row = np.repeat(np.arange(stop - start, dtype=np.uint64), counts)
        keys = (row << np.uint64(32)) | _descending(matrix.data[part])
        keys = (keys << np.uint64(column_bits)) | matrix.indices[part].astype(np.uint64)
        keys.sort()
        place = np.arange(len(keys)) - np.repeat(matrix.indptr[start:stop] - first, counts)
        keys = keys[place < k]
        rows.append((keys >> np.uint64(32 + column_bits)).astype(np.int64) + start)
        columns.append((keys & np.uint64(2**column_bits - 1)).astype(np.int64))
        values.append(_value((keys >> np.uint64(column_bits)).astype(np.uint32)))
        start = stop
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)


def top_of_dense(scores: np.ndarray, left_out: sp.csr_array, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k largest entries of every row of a dense array; a row with fewer gives all it has.

    Args:
        scores: float [n, m] without NaN; -inf where there is none. It is not written to.
        left_out: entries that do not count, CSR [n, m].
        k: entries per row.

    Returns:
        rows and columns, int64, and values, float32; by row, then largest first, equal ones by column.
    """
    values = torch.as_tensor(np.array(scores, dtype=np.float32))
    values[left_out.tocoo().coords] = -torch.inf
    n_columns = values.shape[1]
    top = values.topk(min(k + 1, n_columns), dim=1)
    best, columns = top.values[:, :k].numpy(), top.indices[:, :k].numpy()
    if n_columns > k:
        # Where the last score that gets in equals the first that does not, which of them gets in is left to chance.
        tied = torch.nonzero(top.values[:, k - 1] == top.values[:, k])[:, 0]
        in_order = values[tied].sort(dim=1, descending=True, stable=True)
        best[tied], columns[tied] = in_order.values[:, :k].numpy(), in_order.indices[:, :k].numpy()
    order = np.lexsort((columns, -best), axis=1)
    best, columns = np.take_along_axis(best, order, axis=1), np.take_along_axis(columns, order, axis=1)
    rows, place = np.nonzero(best > -np.inf)
    return rows, columns[rows, place], best[rows, place]


def above_mean(matrix: sp.csr_array, least: np.ndarray) -> sp.csr_array:
    """The entries that are not below their row's mean; rows in which fewer than `least` are left keep all.

    It takes a fraction of the time of sorting, and what is among the `least` largest of a row is always left.

    Args:
        matrix: CSR float32 [n, m].
        least: one number per row [n].
    """
    counts = np.diff(matrix.indptr)
    filled = counts > 0
    starts = matrix.indptr[:-1][filled]
    if len(starts) == 0:
        return matrix
    with np.errstate(invalid="ignore"):  # infinities of both signs: such a row keeps all
        mean = (np.add.reduceat(matrix.data, starts) / counts[filled]).astype(np.float32)
        kept = matrix.data >= np.repeat(mean, counts[filled])
    left = np.add.reduceat(kept, starts, dtype=np.int64)
    few = left < least[filled]
    kept |= np.repeat(few, counts[filled])
    counts[filled] = np.where(few, counts[filled], left)
    places = np.flatnonzero(kept)
    indptr = np.append(0, np.cumsum(counts))
    return sp.csr_array((matrix.data.take(places), matrix.indices.take(places), indptr), shape=matrix.shape)


# The bits of floats order them as integers once negative numbers are inverted and the sign bit of others is flipped.
def _descending(values: np.ndarray) -> np.ndarray:
    bits = (values + np.float32(0)).view(np.uint32)  # -0 becomes 0
    return np.where(bits >> 31, bits, bits ^ np.uint32(0x7FFFFFFF)).astype(np.uint64)


def _value(descending: np.ndarray) -> np.ndarray:
    return np.where(descending >> 31, descending, descending ^ np.uint32(0x7FFFFFFF)).view(np.float32)
