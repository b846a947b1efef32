"""Structure vectors: where an item lies in the graph of items that share users."""

from __future__ import annotations

import inspect

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh

from recbole_dtlns.interactions import TrainInteractions

VERSION = 2
_DENSE_ITEMS = 512  # below this a dense eigensolver is exact and as fast
# SciPy 1.17 draws the vectors that restart a stalled iteration from this; older versions have their own fixed ones.
_RESTARTS = {"rng": 0} if "rng" in inspect.signature(eigsh).parameters else {}


def item_graph(train: TrainInteractions) -> sp.csr_array:
    """Weighted item graph: w_ij = co_ij / (deg_i + deg_j - co_ij) for i != j (Jaccard), CSR float64 [I, I]."""
    matrix = train.matrix.astype(np.float64)
    together = sp.coo_array(matrix.T @ matrix)
    row, column = together.coords
    degree = np.asarray(matrix.sum(axis=0)).ravel()
    off_diagonal = row != column
    row, column, shared = row[off_diagonal], column[off_diagonal], together.data[off_diagonal]
    weight = shared / (degree[row] + degree[column] - shared)
    return sp.csr_array((weight, (row, column)), shape=together.shape)


def structure_vectors(train: TrainInteractions, dimension: int) -> np.ndarray:
    """The leading non-trivial eigenvectors of the normalised adjacency D^-1/2 W D^-1/2 of the item graph.

    They equal the eigenvectors of the smallest eigenvalues of the normalised Laplacian, which the paper
    asks for, and are far cheaper to get. A graph has one trivial vector per connected component; all are
    removed, where the authors' code removes one and keeps the others as features. Start vector and signs
    are fixed, so the same graph gives the same vectors.

    Args:
        train: the train interactions.
        dimension: number of vectors d.

    Returns:
        float32 [n_items, d]; columns beyond the number of existing vectors, and rows of items that share
        no user with any other, are zero.
    """
    graph = item_graph(train)
    _, component = connected_components(graph, directed=False)
    # One component at a time: an iterative solver stalls on the equal eigenvalues that components share.
    order = np.argsort(component, kind="stable")
    by_component = graph[order][:, order]
    sizes = np.bincount(component)
    found: list[tuple[float, np.ndarray, np.ndarray]] = []
    for end, size in zip(np.cumsum(sizes), sizes, strict=True):
        start = end - size
        if size > 1:
            values, columns = _leading_vectors(by_component[start:end, start:end], dimension)
            found += [(value, order[start:end], column) for value, column in zip(values, columns.T, strict=True)]
    found.sort(key=lambda vector: -vector[0])
    vectors = np.zeros((train.n_items, dimension), dtype=np.float32)
    for place, (_, items, column) in enumerate(found[:dimension]):
        vectors[items, place] = column * np.sign(column[np.abs(column).argmax()])
    return vectors


def _leading_vectors(graph: sp.csr_array, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest non-trivial eigenvalues [k] and unit eigenvectors [n, k] of a connected graph, k = min(d, n - 1)."""
    degree = np.asarray(graph.sum(axis=1)).ravel()
    n_items, wanted = len(degree), min(dimension, len(degree) - 1)
    inverse_root = sp.diags_array(1 / np.sqrt(degree))
    normalised = sp.csr_array(inverse_root @ graph @ inverse_root)
    trivial = np.sqrt(degree / degree.sum())  # its eigenvalue is 1; all lie in [-1, 1], so 1 - 3 makes it the last
    if n_items <= _DENSE_ITEMS or wanted >= n_items - 1:
        values, columns = np.linalg.eigh(normalised.toarray() - 3 * np.outer(trivial, trivial))
    else:
        operator = LinearOperator(
            normalised.shape, matvec=lambda x: normalised @ x - 3 * trivial * (trivial @ x), dtype=np.float64
        )
        start = np.random.default_rng(0).standard_normal(n_items)
        values, columns = eigsh(operator, k=wanted, which="LA", v0=start, tol=1e-6, **_RESTARTS)
    order = np.argsort(-values, kind="stable")[:wanted]
    return values[order], columns[:, order]
