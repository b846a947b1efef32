"""Dense linear algebra whose results do not depend on the number of threads.

A BLAS call on several threads adds up in another order than on one, so its last bits change with the machine and with
OMP_NUM_THREADS. Here every call runs on one thread; where one thread would be slow, a matrix is cut into blocks of a
fixed size and the blocks are computed side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator
from threadpoolctl import threadpool_info, threadpool_limits

# Use as a decorator: BLAS and LAPACK compute on one thread within the function.
one_thread = threadpool_limits.wrap(limits=1, user_api="blas")

_BLOCK = 512  # rows and columns: a product of two blocks takes milliseconds, far more than to start it

Map = Callable[[Callable[[int], Any], Iterable[int]], None]


@contextmanager
def side_by_side() -> Iterator[Map]:
    """Within the context, BLAS calls run on one thread each; yields a map over blocks.

    The map runs its function on as many blocks at once as BLAS would have used threads, and returns when all are done.
    """
    threads = max((found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"), default=1)

    def run(function: Callable[[int], Any], blocks: Iterable[int]) -> None:
        for _ in pool.map(function, blocks):
            pass

    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
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
    blocks = [slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]
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
        matrix: dense or sparse [m, n].

    Yields:
        what multiplies vectors as the matrix does: a dense one by blocks, a sparse one, which needs no BLAS, itself.
    """
    with side_by_side() as run:
        if not isinstance(matrix, np.ndarray):
            yield matrix
            return

        def blockwise(length: int, product: Callable[[slice], np.ndarray]) -> np.ndarray:
            result = np.empty(length, dtype=matrix.dtype)

            def one(start: int) -> None:
                block = slice(start, min(start + _BLOCK, length))
                result[block] = product(block)

            run(one, range(0, length, _BLOCK))
            return result

        yield LinearOperator(
            matrix.shape,
            matvec=lambda vector: blockwise(len(matrix), lambda rows: matrix[rows] @ vector.ravel()),
            rmatvec=lambda vector: blockwise(matrix.shape[1], lambda columns: vector.ravel() @ matrix[:, columns]),
            dtype=matrix.dtype,
        )
