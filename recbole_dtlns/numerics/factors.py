"""Vectors of few dimensions from the columns of a matrix."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from recbole_dtlns.numerics.dense_algebra import multiplied_in_order


def column_factors(weights: np.ndarray | sp.csr_array, dimension: int) -> np.ndarray:
    """A vector of every column: the leading right singular vectors of a matrix, scaled by their values.

    Of a matrix of scores, two items get close vectors when the same evidence scores them alike.

    Args:
        weights: dense or sparse [m, n_items]; column j holds what scores item j. Sparse ones may be in single
            precision: they are multiplied in double precision.
        dimension: length of the vectors.

    Returns:
        float32 [n_items, dimension], columns beyond the rank zero; start vector and signs fixed.
    """
    rows, n_items = weights.shape
    vectors = np.zeros((n_items, dimension), dtype=np.float32)
    wanted = min(dimension, rows, n_items)
    with multiplied_in_order(weights) as factors:
        if min(rows, n_items) <= max(wanted + 1, 16):
            dense = weights.toarray().astype(np.float64) if isinstance(weights, sp.sparray) else np.asarray(weights)
            _, values, right = np.linalg.svd(dense, full_matrices=False)
            values, right = values[:wanted], right[:wanted]
        else:
            start = np.random.default_rng(0).standard_normal(min(rows, n_items))
            _, values, right = svds(factors, k=wanted, v0=start, tol=1e-6)
            order = np.argsort(-values, kind="stable")
            values, right = values[order], right[order]
    peaks = right[np.arange(wanted), np.abs(right).argmax(axis=1)]
    vectors[:, :wanted] = (right * (values * np.where(peaks < 0, -1.0, 1.0))[:, None]).T
    return vectors


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """The same rows with length 1, float32; a row of zeros stays."""
    found = np.asarray(vectors, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", found, found, dtype=np.float64))
    unit: np.ndarray = (found / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(np.float32)
    return unit
