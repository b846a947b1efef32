"""Structure vectors: where an item lies in the graph of items that share users."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh

from recbole_dtlns.interactions import TrainInteractions

VERSION = 1
_DENSE_ITEMS = 512  # below this a dense eigensolver is exact and as fast


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
    n_items = graph.shape[0]
    degree = np.asarray(graph.sum(axis=1)).ravel()
    inverse_root = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    normalised = sp.csr_array(sp.diags_array(inverse_root) @ graph @ sp.diags_array(inverse_root))
    trivial = _trivial_vectors(graph, degree)
    wanted = min(dimension, n_items - trivial.shape[1])
    vectors = np.zeros((n_items, dimension), dtype=np.float32)
    if wanted <= 0:
        return vectors
    if n_items <= _DENSE_ITEMS or wanted >= n_items - 1:
        dense = normalised.toarray() - (trivial @ trivial.T).toarray()
        values, found = np.linalg.eigh(dense)
    else:
        operator = LinearOperator(
            normalised.shape, matvec=lambda x: normalised @ x - trivial @ (trivial.T @ x), dtype=np.float64
        )
        start = np.random.default_rng(0).standard_normal(n_items)
        values, found = eigsh(operator, k=wanted, which="LA", v0=start, tol=1e-6)
    order = np.argsort(-values, kind="stable")[:wanted]
    found = found[:, order] * (degree > 0)[:, None]
    peaks = found[np.abs(found).argmax(axis=0), np.arange(wanted)]
    vectors[:, :wanted] = found * np.where(peaks < 0, -1.0, 1.0)
    return vectors


def _trivial_vectors(graph: sp.csr_array, degree: np.ndarray) -> sp.csr_array:
    """One unit vector per component with an edge, D^1/2 on its items: the eigenvalue-1 space, [I, C]."""
    _, component = connected_components(graph, directed=False)
    linked = np.flatnonzero(degree > 0)
    _, column = np.unique(component[linked], return_inverse=True)
    n_components = int(column.max()) + 1 if len(linked) else 0
    mass = np.bincount(column, weights=degree[linked], minlength=n_components)
    entries = np.sqrt(degree[linked] / mass[column])
    return sp.csr_array((entries, (linked, column)), shape=(graph.shape[0], n_components))
