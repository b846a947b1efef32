"""Blocks computed side by side give what one call gives, to the last bit whatever the number of threads."""

from __future__ import annotations

import tracemalloc
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_info, threadpool_limits

from recbole_dtlns.numerics import dense_algebra
from recbole_dtlns.numerics.dense_algebra import multiplied_in_order, one_thread, positive_definite_inverse

SIZES = [1, 3, 511, 512, 513, 1300]  # blocks have 512 rows


def blas_threads() -> set[int]:
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


def positive_definite(n: int, seed: int = 0) -> np.ndarray:
    factor = np.random.default_rng(seed).standard_normal((n, n)) / np.sqrt(n)
    return factor @ factor.T + np.eye(n)


@pytest.mark.parametrize("n", SIZES)
def test_the_inverse_is_the_inverse(n: int) -> None:
    matrix = positive_definite(n)
    given = matrix.copy()
    inverse = positive_definite_inverse(given)
    assert inverse is given, "the memory of the matrix is used again"
    assert np.abs(inverse @ matrix - np.eye(n)).max() < 1e-12
    assert np.array_equal(inverse, inverse.T)


def test_what_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        positive_definite_inverse(-np.eye(3))


@pytest.mark.parametrize("shape", [(1, 1), (512, 700), (1300, 600)])
def test_products_by_blocks_are_the_products(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    matrix = random.standard_normal(shape)
    right, left = random.standard_normal(shape[1]), random.standard_normal(shape[0])
    with multiplied_in_order(matrix) as factors:
        assert np.allclose(factors.matvec(right), matrix @ right)
        assert np.allclose(factors.rmatvec(left), matrix.T @ left)


@pytest.mark.parametrize("at_once", [50, 10**6], ids=["blocks", "whole"])
def test_sparse_products_are_in_doubles_whatever_is_stored(at_once: int) -> None:
    random = np.random.default_rng(2)
    stored = sp.csr_array(sp.random_array((40, 30), density=0.3, rng=random, dtype=np.float32))
    right, left = random.standard_normal(30), random.standard_normal(40)
    with mock.patch.object(dense_algebra, "_ENTRIES", at_once):
        with multiplied_in_order(stored) as factors:
            found = factors @ right, factors.T @ left
        with multiplied_in_order(stored.astype(np.float64)) as factors:
            assert np.array_equal(found[0], factors @ right) and np.array_equal(found[1], factors.T @ left)


def test_a_sparse_matrix_is_held_once_more_for_its_transpose_and_no_further_time() -> None:
    stored = sp.csr_array(sp.random_array((400, 400), density=0.5, rng=np.random.default_rng(3), dtype=np.float32))
    with mock.patch.object(dense_algebra, "_ENTRIES", 10_000):
        tracemalloc.start()
        with multiplied_in_order(stored):
            held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert held < 1.3 * (stored.data.nbytes + stored.indices.nbytes)


def test_threads_change_no_bit() -> None:
    matrix, vector = positive_definite(1300), np.random.default_rng(1).standard_normal(1300)
    found = []
    for threads in (1, 2, 4):
        with threadpool_limits(threads), multiplied_in_order(matrix) as factors:
            products = factors.matvec(vector), factors.rmatvec(vector)
        with threadpool_limits(threads):
            found.append(b"".join(part.tobytes() for part in (positive_definite_inverse(matrix.copy()), *products)))
    assert found[0] == found[1] == found[2]


def test_the_number_of_threads_is_given_back() -> None:
    """After an error too; within, every BLAS call runs on one."""

    @one_thread
    def fails() -> None:
        assert blas_threads() == {1}
        raise ZeroDivisionError

    with threadpool_limits(2):
        for attempt in (fails, lambda: positive_definite_inverse(-np.eye(3))):
            with pytest.raises((ZeroDivisionError, np.linalg.LinAlgError)):
                attempt()
            assert blas_threads() == {2}
