"""K-means of few clusters, for the many small nodes of a tree.

A tree splits hundreds to thousands of nodes, most of them with some hundred items. There a general implementation
spends its time on checks and set-up; this one is a few products of small matrices.
"""

from __future__ import annotations

import math

import numpy as np

_MOST_ROUNDS = 300
_TOLERANCE = 1e-4  # of the mean variance: centres that move less have settled


def kmeans_distances(vectors: np.ndarray, k: int, random: np.random.Generator) -> np.ndarray:
    """Distances to the centres that Lloyd's rounds find, started by k-means++ (Arthur & Vassilvitskii, 2007).

    Args:
        vectors: float32 [n, d], not all equal, n >= k.
        k: clusters; some may stay empty where fewer vectors differ.
        random: draws the first centres.

    Returns:
        float32 [n, k].
    """
    vectors = vectors - vectors.mean(axis=0)  # products of vectors near the origin lose the least to rounding
    squares = np.einsum("ij,ij->i", vectors, vectors)
    centres = _first_centres(vectors, squares, k, random)
    settled = _TOLERANCE * squares.sum() / vectors.size
    for _ in range(_MOST_ROUNDS):
        labels = _squared(vectors, squares, centres).argmin(axis=1)
        means, empty = _means(vectors, labels, k)
        moved = np.where(empty[:, None], centres, means)
        shift = float(((moved - centres) ** 2).sum())
        centres = moved
        if shift <= settled:
            break
    return np.sqrt(_squared(vectors, squares, centres))


def distances_to_means(vectors: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Distances of vectors [n, d] to the means of their clusters, float32 [n, k]; infinite to an empty one."""
    vectors = vectors - vectors.mean(axis=0)
    means, empty = _means(vectors, labels, k)
    squared = _squared(vectors, np.einsum("ij,ij->i", vectors, vectors), means)
    return np.where(empty, np.float32(np.inf), np.sqrt(squared))


def _means(vectors: np.ndarray, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of the clusters [k, d], and which are empty, bool [k]."""
    members = np.equal(labels, np.arange(k)[:, None]).astype(np.float32)
    sizes = members.sum(axis=1, keepdims=True)
    return members @ vectors / np.maximum(sizes, 1), sizes[:, 0] == 0


def _first_centres(vectors: np.ndarray, squares: np.ndarray, k: int, random: np.random.Generator) -> np.ndarray:
    """Each centre is the best of a few vectors drawn in proportion to their squared distance to the centres so far."""
    centres = vectors[[int(random.integers(len(vectors)))] * k]
    nearest = _squared(vectors, squares, centres[:1])
    for place in range(1, k):
        cumulated = np.cumsum(nearest, dtype=np.float64)
        points = random.random(2 + int(math.log(k))) * cumulated[-1]
        drawn = np.minimum(np.searchsorted(cumulated, points, side="right"), len(vectors) - 1)
        reached = np.minimum(nearest, _squared(vectors, squares, vectors[drawn]))
        best = int(reached.sum(axis=0).argmin())
        centres[place] = vectors[drawn[best]]
        nearest = reached[:, best : best + 1]
    return centres


def _squared(vectors: np.ndarray, squares: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances [n, k]."""
    distances = vectors @ (-2 * centres.T)
    distances += squares[:, None]
    distances += np.einsum("ij,ij->i", centres, centres)
    return np.maximum(distances, 0, out=distances)
