"""Dense linear algebra whose results do not depend on the number of threads.

A BLAS call on several threads adds up in another order than on one, so its last bits change with the machine and with
OMP_NUM_THREADS. Here every call runs on one thread; where one thread would be slow, a matrix is cut into blocks of a
fixed size and the blocks are computed side by side.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial, wraps
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator
from threadpoolctl import ThreadpoolController

from recbole_dtlns.numerics.groups import stretches

_BLOCK = 512  # rows and columns: a product of two blocks takes milliseconds, far more than to start it
_ENTRIES = 500_000  # stored numbers of a sparse matrix, for the same reason

Blockwise = list[tuple[slice, Callable[[np.ndarray], np.ndarray]]]  # rows of a product, and what makes them of a vector


class Map(Protocol):
    """Runs a function on blocks, several at once, and returns when all are done."""

    def __call__(
        self, function: Callable[[int], Any], blocks: Iterable[int], done: Callable[[int], object] = ..., /
    ) -> None:
        """`done` is called with every block that is done, in their order and from the caller's thread."""


_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def one_thread(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """The function, within which BLAS and LAPACK compute on one thread."""

    @wraps(function)
    def limited(*given: _Given.args, **named: _Given.kwargs) -> _Result:
        with _blas().limit(limits=1):
            return function(*given, **named)

    return limited


def _blas() -> ThreadpoolController:
    """The BLAS libraries of this process."""
    return _blas_beside(len(sys.modules))  # which bring them; to look for them takes milliseconds


@lru_cache(maxsize=1)
def _blas_beside(_modules: int) -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def side_by_side() -> Iterator[Map]:
    """Within the context, BLAS calls run on one thread each; yields a map over blocks.

    The map runs its function on as many blocks at once as BLAS would have used threads.
    """
    blas = _blas()
    threads = max((found["num_threads"] for found in blas.info()), default=1)

    def run(
        function: Callable[[int], Any], blocks: Iterable[int], done: Callable[[int], object] = lambda block: None
    ) -> None:
        blocks = list(blocks)
        for block, _ in zip(blocks, pool.map(function, blocks), strict=True):
            done(block)

    with blas.limit(limits=1), ThreadPoolExecutor(threads) as pool:
        yield run


def positive_definite_inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric positive definite matrix, by its Cholesky factor L: (L^-1)^T L^-1.

    Args:
        matrix: float64 [n, n]; it is overwritten with the inverse. One more matrix of its size is made.

    Returns:
        the matrix handed in.

    Raises:
        numpy.linalg.LinAlgError: it is not positive definite.
    """
    n = len(matrix)
    blocks = stretches(n, _BLOCK)
    last = len(blocks)
    inverse = np.zeros_like(matrix)  # of L
    with side_by_side() as run:
        for column, here in enumerate(blocks):
            factor = np.linalg.cholesky(matrix[here, here])
            inverse[here, here] = scipy.linalg.solve_triangular(factor, np.eye(len(factor)), lower=True)
            own = inverse[here, here]

            def finish(row: int, here: slice = here, own: np.ndarray = own) -> None:
                matrix[blocks[row], here] = matrix[blocks[row], here] @ own.T

            def update(row: int, column: int = column, here: slice = here) -> None:
                below = blocks[row]
                for other in blocks[column + 1 : row + 1]:
                    matrix[below, other] -= matrix[below, here] @ matrix[other, here].T

            run(finish, range(column + 1, last))
            run(update, range(last - 1, column, -1))

        def invert(column: int) -> None:
            here = blocks[column]
            for below in blocks[column + 1 :]:
                known = slice(here.start, below.start)
                inverse[below, here] = -inverse[below, below] @ (matrix[below, known] @ inverse[known, here])

        run(invert, range(last))

        def multiply(row: int) -> None:
            here = blocks[row]
            for other in blocks[: row + 1]:
                matrix[here, other] = inverse[here.start :, here].T @ inverse[here.start :, other]
                matrix[other, here] = matrix[here, other].T

        run(multiply, range(last))
    return matrix


@contextmanager
def multiplied_in_order(matrix: np.ndarray | sp.sparray) -> Iterator[LinearOperator | sp.sparray]:
    """A matrix for an iterative solver that runs within the context.

    Args:
        matrix: dense or sparse [m, n]; a sparse one may be in single precision, which halves its memory, and is
            multiplied in double precision nonetheless.

    Yields:
        what multiplies vectors as the matrix does, by blocks of rows, or of columns for its transpose; a small sparse
        one itself, for SciPy multiplies it on one thread.
    """
    kind = matrix.dtype if isinstance(matrix, np.ndarray) else np.dtype(np.float64)
    with side_by_side() as run:

        def operator(products: Blockwise, transposed: Blockwise) -> LinearOperator:
            def multiplied(blocks: Blockwise, length: int, vector: np.ndarray) -> np.ndarray:
                result, factor = np.empty(length, dtype=kind), vector.ravel()

                def one(number: int) -> None:
                    rows, product = blocks[number]
                    result[rows] = product(factor)

                run(one, range(len(blocks)))
                return result

            return LinearOperator(
                matrix.shape,
                matvec=lambda vector: multiplied(products, matrix.shape[0], vector),
                rmatvec=lambda vector: multiplied(transposed, matrix.shape[1], vector),
                dtype=kind,
            )

        if isinstance(matrix, np.ndarray):
            yield operator(
                [(rows, partial(np.matmul, matrix[rows])) for rows in _evenly(matrix.shape[0])],
                [(columns, partial(np.matmul, matrix[:, columns].T)) for columns in _evenly(matrix.shape[1])],
            )
        elif matrix.nnz <= _ENTRIES:
            yield matrix.astype(kind)
        else:
            yield operator(_by_rows(sp.csr_array(matrix)), _by_rows(sp.csr_array(matrix.T)))


def _evenly(length: int) -> list[slice]:
    return stretches(length, _BLOCK)


def _by_rows(matrix: sp.csr_array) -> Blockwise:
    """Blocks of rows that hold about as many entries, which stay where they are in the matrix."""
    within = matrix.indptr // _ENTRIES
    bounds = np.unique(np.append(np.searchsorted(within, np.arange(within[-1] + 1)), matrix.shape[0])).tolist()
    parts = [slice(first, last) for first, last in itertools.pairwise(bounds)]
    return [(rows, _rows_in_place(matrix, rows).__matmul__) for rows in parts]


def _rows_in_place(matrix: sp.csr_array, rows: slice) -> sp.csr_array:
    """Some rows of a matrix, without a copy of what they hold."""
    bounds = matrix.indptr[rows.start : rows.stop + 1]
    stored = slice(bounds[0], bounds[-1])
    parts = (matrix.data[stored], matrix.indices[stored], bounds - bounds[0])
    return sp.csr_array(parts, shape=(len(bounds) - 1, matrix.shape[1]))
