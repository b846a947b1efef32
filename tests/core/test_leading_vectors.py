"""Leading singular vectors are those of a whole decomposition, however the work is cut, and rows cost no memory."""

from __future__ import annotations

import tracemalloc
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from recbole_dtlns.numerics import leading_vectors
from recbole_dtlns.numerics.leading_vectors import leading_values_and_vectors


def with_few_large_values(rows: int, columns: int, rank: int) -> sp.csr_array:
    """Of this rank, but for noise far below: so well parted from the rest that every start finds them."""
    random = np.random.default_rng(0)
    left, right = random.standard_normal((rows, rank)), random.standard_normal((rank, columns))
    return sp.csr_array(left * np.linspace(3, 1, rank) @ right + 1e-4 * random.standard_normal((rows, columns)))


@pytest.mark.parametrize("shape", [(90, 60), (60, 90)])
def test_they_are_those_of_a_whole_decomposition(shape: tuple[int, int]) -> None:
    matrix = with_few_large_values(*shape, rank=12)
    _, singular, right = np.linalg.svd(matrix.toarray(), full_matrices=False)
    values, found = leading_values_and_vectors(matrix, 12)
    assert values == pytest.approx(singular[:12], rel=1e-9)
    assert np.abs(right[:12] @ found) == pytest.approx(np.eye(12), abs=1e-7)
    assert (found.max(axis=0) == np.abs(found).max(axis=0)).all()


def test_where_values_lie_close_together_as_much_passes_as_through_the_library_s() -> None:
    """What is found of a flat spectrum depends on the iteration; sklearn's has as many products."""
    random = np.random.default_rng(3)
    matrix = sp.csr_array(random.standard_normal((300, 200)))
    theirs = randomized_svd(matrix, 20, n_iter=4, random_state=0)[2].T
    through = [np.linalg.norm(matrix @ vectors) for vectors in (theirs, leading_values_and_vectors(matrix, 20)[1])]
    assert through[1] >= through[0]


@pytest.mark.parametrize("entries_at_once", [400, 4_000_000])
def test_values_far_below_the_largest_have_their_vectors_too(entries_at_once: int) -> None:
    """In blocks of a few rows as at once; rows and columns are turned, so that no vector is one of them."""
    random = np.random.default_rng(4)
    left, right = (np.linalg.qr(random.standard_normal((n, 8)))[0] for n in (90, 60))
    values = 10.0 ** -np.linspace(0, 3, 8)
    with mock.patch.object(leading_vectors, "_ENTRIES_AT_ONCE", entries_at_once):
        singular, found = leading_values_and_vectors(sp.csr_array(left * values @ right.T), 8)
    assert singular == pytest.approx(values, rel=1e-6)
    assert found.T @ found == pytest.approx(np.eye(8), abs=1e-9)
    assert np.abs(right.T @ found) == pytest.approx(np.eye(8), abs=1e-6)


@pytest.mark.parametrize("rank", [0, 1, 5])
def test_what_a_matrix_does_not_have_is_zero(rank: int) -> None:
    random = np.random.default_rng(1)
    matrix = sp.csr_array(random.standard_normal((30, rank)) @ random.standard_normal((rank, 20)))
    found = leading_values_and_vectors(matrix, 8)[1]
    assert found.shape == (20, 8) and not found[:, rank:].any()
    assert found[:, :rank].T @ found[:, :rank] == pytest.approx(np.eye(rank), abs=1e-9)
    assert matrix @ found @ found.T == pytest.approx(matrix.toarray(), abs=1e-9)


def test_neither_threads_nor_vectors_at_once_change_a_bit() -> None:
    matrix, found = with_few_large_values(200, 150, rank=20), []
    for threads, at_once in ((1, 8), (2, 3), (4, 64)):
        with threadpool_limits(threads), mock.patch.object(leading_vectors, "_VECTORS_AT_ONCE", at_once):
            found.append(leading_values_and_vectors(matrix, 12)[1].tobytes())
    assert found[0] == found[1] == found[2]


def test_memory_is_that_of_the_columns_and_not_of_the_rows() -> None:
    """All vectors of 60,000 rows at once would be five times what is held."""
    random = np.random.default_rng(2)
    matrix = sp.csr_array(sp.random_array((60_000, 400), density=0.002, rng=random))
    with mock.patch.multiple(leading_vectors, _VECTORS_AT_ONCE=1, _ENTRIES_AT_ONCE=50_000), threadpool_limits(1):
        tracemalloc.start()
        leading_values_and_vectors(matrix, 40)[1]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 60_000 * 50 * 8 / 5
