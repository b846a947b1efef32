"""The leading right singular vectors of a sparse matrix with so many rows that no vectors of theirs can be held."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.numerics.dense_algebra import Map, side_by_side
from recbole_dtlns.numerics.groups import stretches

_FURTHER = 10  # vectors that are iterated beside those that are wanted
_ITERATIONS = 5
_VECTORS_AT_ONCE = 8
_ENTRIES_AT_ONCE = 4_000_000  # of a block of rows of vectors
_LOST = 1e-14  # of the largest eigenvalue: what is below is rounding


def leading_values_and_vectors(matrix: sp.csr_array, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """The leading singular values of a matrix and their right vectors.

    Randomised subspace iteration on A^T A (Halko et al., SIAM Review 2011), from a fixed start.

    Every step goes to the rows and back for a few vectors at a time, so memory is that of the vectors and of a few as
    long as the rows; the usual form holds both kinds several times. What is iterated is made orthonormal by the
    eigenvectors of its inner products, which loses directions whose singular value is below 3 * 10^-4 of the largest:
    of inner products of the vectors, scaled by their values, they are 10^-7.

    Args:
        matrix: A, float64 [m, n].
        wanted: number of vectors, at most n.

    Returns:
        values float64 [wanted], the largest first, and vectors float64 [n, wanted], the largest entry of each positive;
        what A does not have is zero. No number of threads changes a bit.
    """
    n = matrix.shape[1]
    vectors = np.random.RandomState(0).normal(size=(n, min(wanted + _FURTHER, n)))
    transposed = matrix.T
    blocks = stretches(vectors.shape[1], _VECTORS_AT_ONCE)

    def to_the_rows_and_back(number: int) -> None:
        some = blocks[number]
        vectors[:, some] = transposed @ (matrix @ np.ascontiguousarray(vectors[:, some]))

    with side_by_side() as run:
        for _ in range(_ITERATIONS):
            run(to_the_rows_and_back, range(len(blocks)))
            _make_orthonormal(vectors, run)
        _make_orthonormal(vectors, run)  # what was close to lost is only now
        squares, axes = _leading(_inner_products(matrix[rows] @ vectors for rows in _blocks(matrix.shape[0], vectors)))
        _combine(vectors, axes[:, :wanted], run)
    values, found = np.zeros(wanted), vectors[:, :wanted]
    values[: len(squares)] = np.sqrt(squares[:wanted])
    found *= np.where(found.max(axis=0) < -found.min(axis=0), -1.0, 1.0)
    return values, found


def _make_orthonormal(vectors: np.ndarray, run: Map) -> None:
    """In place; vectors that are lost are zero, and come last."""
    values, axes = _leading(_inner_products(vectors[rows] for rows in _blocks(len(vectors), vectors)))
    _combine(vectors, axes / np.sqrt(values), run)


def _inner_products(blocks: Iterator[np.ndarray]) -> np.ndarray:
    """Of the columns of a matrix that comes in blocks of rows."""
    first = next(blocks)
    found: np.ndarray = first.T @ first
    for rows in blocks:
        found += rows.T @ rows
    return found


def _leading(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues that are not lost, the largest first, and their vectors by column."""
    values, axes = np.linalg.eigh(products)
    kept = np.flatnonzero(values > _LOST * values[-1])[::-1]
    return values[kept], axes[:, kept]


def _combine(vectors: np.ndarray, by: np.ndarray, run: Map) -> None:
    """The vectors [n, s] times a matrix [s, t], in their place; those from t on are zero."""
    blocks = list(_blocks(len(vectors), vectors))

    def combine(number: int) -> None:
        rows = vectors[blocks[number]]
        rows[:, : by.shape[1]] = rows @ by
        rows[:, by.shape[1] :] = 0

    run(combine, range(len(blocks)))


def _blocks(length: int, vectors: np.ndarray) -> Iterator[slice]:
    yield from stretches(length, max(1, _ENTRIES_AT_ONCE // vectors.shape[1]))
