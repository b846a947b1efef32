"""Vectors of few dimensions from the columns of a matrix."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from recbole_dtlns.numerics.dense_algebra import multiplied_in_order
from recbole_dtlns.numerics.leading_vectors import leading_values_and_vectors

_EXACT_ITEMS = 100_000  # the more items, the more steps an exact method takes


def column_factors(weights: np.ndarray | sp.csr_array, dimension: int) -> np.ndarray:
    """A vector of every column: the leading right singular vectors of a matrix, scaled by their values.

    Of a matrix of scores, two items get close vectors when the same evidence scores them alike. A sparse matrix of more
    than 100,000 items is iterated a fixed number of times, so time grows as its entries do: where its values lie close
    together, the vectors found hold somewhat less of it than the leading ones.

    Args:
        weights: dense or sparse [m, n_items]; column j holds what scores item j. Sparse ones may be in single
            precision: they are multiplied in double precision.
        dimension: length of the vectors.

    Returns:
        float32 [n_items, dimension], columns beyond the rank zero; start vector and signs fixed.
    """
    vectors = np.zeros((weights.shape[1], dimension), dtype=np.float32)
    wanted = min(dimension, *weights.shape)
    if not (weights.data if isinstance(weights, sp.sparray) else weights).any():
        return vectors  # ARPACK fails on zeros
    if isinstance(weights, sp.sparray) and weights.shape[1] > _EXACT_ITEMS:
        in_doubles = (weights.data.astype(np.float64, copy=False), weights.indices, weights.indptr)
        values, right = leading_values_and_vectors(sp.csr_array(in_doubles, shape=weights.shape), wanted)
    else:
        values, right = _exact(weights, wanted)
    vectors[:, :wanted] = right * values
    return vectors


def _exact(weights: np.ndarray | sp.csr_array, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """The leading singular values [wanted] and right vectors [n_items, wanted], the largest entry of each positive."""
    fewer = min(weights.shape)
    with multiplied_in_order(weights) as factors:
        if fewer <= max(wanted + 1, 16):
            dense = weights.toarray().astype(np.float64) if isinstance(weights, sp.sparray) else np.asarray(weights)
            _, values, right = np.linalg.svd(dense, full_matrices=False)
            values, right = values[:wanted], right[:wanted]
        else:
            start = np.random.default_rng(0).standard_normal(fewer)
            _, values, right = svds(factors, k=wanted, v0=start, tol=1e-6)
            order = np.argsort(-values, kind="stable")
            values, right = values[order], right[order]
    peaks = right[np.arange(wanted), np.abs(right).argmax(axis=1)]
    return values, (right * np.where(peaks < 0, -1.0, 1.0)[:, None]).T


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """The same rows with length 1, float32; a row of zeros stays."""
    found = np.asarray(vectors, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", found, found, dtype=np.float64))
    unit: np.ndarray = (found / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(np.float32)
    return unit
