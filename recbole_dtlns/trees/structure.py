"""Structure vectors: where an item lies in the graph of items that share users."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh

from recbole_dtlns.data.co_occurrence import MAX_HISTORY, strongest_entries, strongest_items
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.transitions import steps
from recbole_dtlns.numerics.dense_algebra import one_thread

VERSION = 4
NEIGHBOURS = 100
Graph = Literal["users", "transitions"]
_PLACES, _DECAY = 20, 0.8  # between two items of a history whose transition counts, and what one place takes of it
_TOLERANCE = 1e-3
_DENSE_ITEMS = 512  # below this a dense eigensolver is exact and as fast
# SciPy 1.17 draws the vectors that restart a stalled iteration from this; older versions have their own fixed ones.
_RESTARTS = {"rng": 0} if "rng" in inspect.signature(eigsh).parameters else {}


def item_graph(train: TrainInteractions, neighbours: int = NEIGHBOURS, max_history: int = MAX_HISTORY) -> sp.csr_array:
    """Weighted item graph: w_ij = co_ij / (deg_i + deg_j - co_ij) for i != j (Jaccard), bounded in two ways.

    The paper's graph joins all items that share a user, a number quadratic in the longest histories. Here an edge stays
    where it is among the strongest of either item, and long histories are sampled (`co_occurrence_blocks`).

    Args:
        train: the train interactions.
        neighbours: strongest edges that every item keeps; equal ones by item id.
        max_history: items of a user that count.

    Returns:
        CSR float32 [n_items, n_items], symmetric, columns sorted.
    """
    degree = np.asarray(train.matrix.sum(axis=0)).ravel()
    graph = strongest_items(train, _JaccardOfUsers(degree), neighbours, max_history)
    graph.sort_indices()
    return sp.csr_array(graph.maximum(graph.T))


def transition_graph(train: TrainInteractions, neighbours: int = NEIGHBOURS) -> sp.csr_array:
    """Item graph of what follows what: w_ij = c_ij / (c_i + c_j - c_ij), an edge among the strongest of either item.

    c_ij counts the users with i and j at most 20 places apart, whichever comes first, each as 0.8^(d - 1) for d places;
    c_i is the sum of c_ij over all j. It is `item_graph` with nearness in time in place of mere sharing.

    Args:
        train: the train interactions, with times.
        neighbours: strongest edges that every item keeps; equal ones by item id.

    Returns:
        CSR float32 [n_items, n_items], symmetric, columns sorted.

    Raises:
        DataError: the data hold no times.
    """
    made = steps(train, _PLACES, _DECAY)
    left = sp.csr_array(sp.hstack([made.before.T, made.after.T], format="csr"))
    right = sp.csr_array(sp.vstack([made.after, made.before], format="csr"))
    total = left @ right.sum(axis=1, dtype=np.float64)
    graph = strongest_entries(left, right, _JaccardOfCounts(total), neighbours)
    graph.sort_indices()
    return sp.csr_array(graph.maximum(graph.T))


@dataclass(frozen=True)
class _JaccardOfUsers:
    degree: np.ndarray

    def __call__(self, items: np.ndarray, others: np.ndarray, shared: np.ndarray) -> np.ndarray:
        own, their = self.degree[items], self.degree[others]
        # What sampled histories say of the shared users may exceed either item's users; what is exact never does.
        both = np.minimum(shared, np.minimum(own, their))
        return both / (own + their - both)


@dataclass(frozen=True)
class _JaccardOfCounts:
    total: np.ndarray

    def __call__(self, items: np.ndarray, others: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return counts / (self.total[items] + self.total[others] - counts)


@one_thread
def structure_vectors(
    train: TrainInteractions,
    dimension: int,
    neighbours: int = NEIGHBOURS,
    max_history: int = MAX_HISTORY,
    graph: Graph = "users",
) -> np.ndarray:
    """The leading non-trivial eigenvectors of the normalised adjacency D^-1/2 W D^-1/2 of the item graph.

    They equal the eigenvectors of the smallest eigenvalues of the normalised Laplacian, which the paper
    asks for, and are far cheaper to get. A graph has one trivial vector per connected component; all are
    removed, where the authors' code removes one and keeps the others as features. Start vector and signs
    are fixed, so the same graph gives the same vectors.

    Args:
        train: the train interactions.
        dimension: number of vectors d.
        neighbours, max_history: bounds of the graph, as for `item_graph`.
        graph: users: `item_graph`; transitions: `transition_graph`.

    Returns:
        float32 [n_items, d]; columns beyond the number of existing vectors, and rows of items that share
        no user with any other, are zero.
    """
    joined = (
        transition_graph(train, neighbours) if graph == "transitions" else item_graph(train, neighbours, max_history)
    )
    _, component = connected_components(joined, directed=False)
    # One component at a time: an iterative solver stalls on the equal eigenvalues that components share.
    order = np.argsort(component, kind="stable")
    sizes = np.bincount(component)
    by_component = joined if len(sizes) == 1 else joined[order][:, order]
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
    degree = np.asarray(graph.sum(axis=1), dtype=np.float64).ravel()
    n_items, wanted = len(degree), min(dimension, len(degree) - 1)
    inverse_root = 1 / np.sqrt(degree)
    trivial = np.sqrt(degree / degree.sum())  # its eigenvalue is 1; all lie in [-1, 1], so 1 - 3 makes it the last
    if n_items <= _DENSE_ITEMS or wanted >= n_items - 1:
        normalised = graph.toarray() * np.outer(inverse_root, inverse_root)
        values, columns = np.linalg.eigh(normalised - 3 * np.outer(trivial, trivial))
    else:
        values, columns = _iterated(graph, inverse_root, trivial, wanted)
    order = np.argsort(-values, kind="stable")[:wanted]
    return values[order], columns[:, order]


def _iterated(
    graph: sp.csr_array, inverse_root: np.ndarray, trivial: np.ndarray, wanted: int
) -> tuple[np.ndarray, np.ndarray]:
    """Leading eigenpairs of D^-1/2 W D^-1/2 - 3 t t^T by Lanczos iteration.

    In doubles: in single precision the vectors differ between processors by as much as parts items between clusters.
    """
    weights = np.repeat(inverse_root, np.diff(graph.indptr))
    weights *= inverse_root[graph.indices]
    weights *= graph.data
    # PyTorch's product of compressed rows is faster than SciPy's, and no less exact whatever the number of threads.
    parts = [torch.from_numpy(part) for part in (graph.indptr, graph.indices, weights)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch calls compressed rows a beta feature
        rows = torch.sparse_csr_tensor(parts[0], parts[1], parts[2], graph.shape, check_invariants=False)
    lowered = 3 * trivial

    def product(vector: np.ndarray) -> np.ndarray:
        vector = vector.ravel()
        return (rows @ torch.from_numpy(vector)).numpy() - lowered * (trivial @ vector)

    start = np.random.default_rng(0).standard_normal(len(trivial))
    operator = LinearOperator(graph.shape, matvec=product, dtype=np.float64)
    return eigsh(operator, k=wanted, which="LA", v0=start, tol=_TOLERANCE, **_RESTARTS)
