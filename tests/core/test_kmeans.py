"""The tree's k-means: right distances, centres that cannot be improved, and clusters as good as a general library's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from recbole_dtlns.trees.kmeans import distances_to_means, kmeans_distances


def blobs(n: int, k: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, k, n)
    centres = 10 * np.eye(k, 8)
    return (centres[labels] + spread * random.standard_normal((n, 8)) + 100).astype(np.float32), labels


@pytest.mark.parametrize("seed", range(5))
def test_clear_clusters_are_found(seed: int) -> None:
    vectors, labels = blobs(300, 4, 0.5, seed)
    distances = kmeans_distances(vectors, 4, np.random.default_rng(seed))
    assert distances.shape == (300, 4) and distances.dtype == np.float32
    assert adjusted_rand_score(labels, distances.argmin(axis=1)) == 1


def test_distances_are_those_to_the_means_of_the_clusters() -> None:
    """Where the rounds have settled; the vectors lie far from the origin."""
    vectors, _ = blobs(300, 4, 0.5, 7)
    distances = kmeans_distances(vectors, 4, np.random.default_rng(0))
    labels = distances.argmin(axis=1)
    means = np.stack([vectors[labels == cluster].astype(np.float64).mean(axis=0) for cluster in range(4)])
    expected = np.linalg.norm(vectors[:, None].astype(np.float64) - means, axis=2)
    np.testing.assert_allclose(distances, expected, rtol=1e-3, atol=1e-3)


def test_clusters_are_as_tight_as_scikit_learns() -> None:
    """Without clear clusters, over 20 starts: the mean of the squared distances is within 2 %."""
    vectors = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
    ours = [(kmeans_distances(vectors, 4, np.random.default_rng(seed)).min(axis=1) ** 2).sum() for seed in range(20)]
    theirs = [KMeans(4, n_init=1, random_state=seed).fit(vectors).inertia_ for seed in range(20)]
    assert np.mean(ours) < 1.02 * np.mean(theirs)


def test_fewer_different_vectors_than_clusters() -> None:
    """Equal vectors stay together and nothing is NaN."""
    vectors = np.repeat(np.eye(2, dtype=np.float32), [40, 60], axis=0)
    distances = kmeans_distances(vectors, 4, np.random.default_rng(0))
    assert np.isfinite(distances).all()
    labels = distances.argmin(axis=1)
    assert len(set(labels[:40])) == len(set(labels[40:])) == 1 and labels[0] != labels[-1]


def test_distances_to_the_means_of_given_clusters() -> None:
    """Far from the origin, with a cluster of one item, whose mean it is, and an empty one, which is infinitely far."""
    vectors = (1000 + np.random.default_rng(3).standard_normal((9, 5))).astype(np.float32)
    labels = np.array([0, 0, 0, 0, 1, 3, 3, 3, 3])
    distances = distances_to_means(vectors, labels, 4)
    means = np.stack([vectors[labels == cluster].astype(np.float64).mean(axis=0) for cluster in (0, 1, 3)])
    expected = np.linalg.norm(vectors[:, None].astype(np.float64) - means, axis=2)
    np.testing.assert_allclose(distances[:, [0, 1, 3]], expected, atol=2e-3)
    assert distances.dtype == np.float32 and np.isposinf(distances[:, 2]).all()
