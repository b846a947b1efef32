"""Structure vectors are the leading non-trivial eigenvectors of the item graph, on any graph, and always the same."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from block_data import block_interactions, block_pairs
from plain_python import block_of, bridged_blocks, item_sets, random_interactions
from scipy.sparse.csgraph import connected_components

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.trees import structure
from recbole_dtlns.trees.structure import item_graph, structure_vectors


def chained(links: list[tuple[str, str]]) -> TrainInteractions:
    """One user per link, who has the two items of it: the item graph is the links."""
    users = [f"u{number:04d}" for number in range(len(links))]
    return TrainInteractions.from_tokens(np.repeat(users, 2), np.array(links).ravel())


def path_graph(n_items: int) -> TrainInteractions:
    return chained(list(pairwise(f"i{item:04d}" for item in range(n_items))))


def star_graph(n_items: int) -> TrainInteractions:
    return chained([("centre", f"i{item:04d}") for item in range(n_items - 1)])


def laplacian(train: TrainInteractions) -> tuple[np.ndarray, np.ndarray]:
    """Items with an edge, and I - D^-1/2 W D^-1/2 over them, dense."""
    weights = item_graph(train).toarray()
    linked = np.flatnonzero(weights.sum(axis=1))
    weights = weights[np.ix_(linked, linked)]
    root = np.sqrt(weights.sum(axis=1))
    return linked, np.eye(len(linked)) - weights / np.outer(root, root)


def test_item_graph_is_the_jaccard_of_the_items_users() -> None:
    """w_ij = shared users / users of either, 0 on the diagonal, symmetric."""
    train = random_interactions(12, 15, 0.3, seed=0)
    users = item_sets(train)
    expected = [[len(a & b) / len(a | b) if a is not b else 0.0 for b in users] for a in users]
    np.testing.assert_allclose(item_graph(train).toarray(), expected, rtol=1e-6)


def test_long_histories_are_sampled_in_the_item_graph() -> None:
    """One user has twenty items: where five of them count, their pairs alone have an edge."""
    train = block_interactions(blocks=1, users=1, items=20, missing=0)
    assert item_graph(train).nnz == item_graph(train, max_history=20).nnz == 20 * 19
    assert item_graph(train, max_history=5).nnz == 5 * 4


GRAPHS = {
    "one component": random_interactions(40, 30, 0.15, seed=1),
    "some components, isolated items": random_interactions(25, 60, 0.02, seed=2),
    "blocks": block_interactions(),
    "equal blocks": block_interactions(blocks=3, users=2, items=6, missing=0),
    "pairs": block_interactions(blocks=8, users=1, items=2, missing=0),
    "bipartite path": path_graph(30),
    "star": star_graph(20),
    "complete": block_interactions(blocks=1, users=2, items=15, missing=0),
}


@pytest.mark.parametrize("dimension", [1, 5, 32])
@pytest.mark.parametrize("name", GRAPHS)
def test_they_are_the_eigenvectors_of_the_smallest_nontrivial_laplacian_eigenvalues(name: str, dimension: int) -> None:
    """Each column solves the eigen-equation, the eigenvalues are the right ones, and the columns are orthonormal.

    Compared with a dense eigh of the whole Laplacian, whose zero eigenvalues, one per component, are left out.
    """
    train = GRAPHS[name]
    linked, matrix = laplacian(train)
    n_components = connected_components(matrix != 0, directed=False)[0]
    expected = np.linalg.eigvalsh(matrix)[n_components:][:dimension]
    vectors = structure_vectors(train, dimension).astype(np.float64)
    assert vectors.shape == (train.n_items, dimension)
    used = vectors[linked, : len(expected)]
    np.testing.assert_allclose(used.T @ used, np.eye(len(expected)), atol=1e-5)
    np.testing.assert_allclose(np.einsum("ij,ij->j", used, matrix @ used), expected, atol=1e-5)
    np.testing.assert_allclose(matrix @ used, used * expected, atol=1e-5)
    assert not vectors[:, len(expected) :].any(), "columns beyond the number of existing vectors are zero"
    assert not np.delete(vectors, linked, axis=0).any(), "isolated items have zero rows"


@pytest.mark.parametrize("name", GRAPHS)
def test_trivial_vectors_are_removed_from_every_component(name: str) -> None:
    """D^1/2 of each component, which says only how popular an item is, is in none of the columns.

    It must not come back either where the other eigenvalues are negative, as in dense blocks.
    """
    train = GRAPHS[name]
    graph = item_graph(train)
    _, component = connected_components(graph, directed=False)
    trivial = np.eye(component.max() + 1)[component] * np.sqrt(np.asarray(graph.sum(axis=1)).ravel())[:, None]
    trivial /= np.maximum(np.linalg.norm(trivial, axis=0), 1e-12)
    np.testing.assert_allclose(trivial.T @ structure_vectors(train, 32), 0, atol=1e-5)


def test_a_vector_lies_in_one_component() -> None:
    """Items that no chain of users links never influence each other's vectors, even where components are alike."""
    for train in (block_interactions(), block_interactions(missing=0)):
        vectors = structure_vectors(train, 40)
        blocks = block_of(train)
        touched = np.array([[vectors[blocks == block, column].any() for column in range(40)] for block in set(blocks)])
        assert (touched.sum(axis=0) == 1).all()


def test_the_largest_entry_of_every_vector_is_positive() -> None:
    """An eigenvector's sign is arbitrary, so it is fixed: this keeps trees the same between machines."""
    vectors = structure_vectors(GRAPHS["one component"], 20)
    assert (vectors[np.abs(vectors).argmax(axis=0), np.arange(20)] > 0).all()


@pytest.mark.parametrize(
    ("users", "items", "existing"),
    [(["u"], ["i"], 0), (["u", "v"], ["i", "j"], 0), (["u", "u"], ["i", "j"], 1), (["u"] * 3, ["i", "j", "k"], 2)],
    ids=["one item", "two unlinked items", "two items", "three items"],
)
def test_fewer_items_than_dimensions(users: list[str], items: list[str], existing: int) -> None:
    """A tiny data set has fewer vectors than asked for; the other columns are zero and the shape is kept."""
    vectors = structure_vectors(TrainInteractions.from_tokens(users, items), 8)
    assert vectors.shape == (len(set(items)), 8)
    assert vectors.dtype == np.float32
    assert vectors.any(axis=0).sum() == existing


def test_an_isolated_item_has_a_zero_row_and_changes_no_other() -> None:
    """An item that shares no user with any other lies nowhere in the graph."""
    users, items = block_pairs()
    linked = structure_vectors(TrainInteractions.from_tokens(users, items), 16)
    with_isolated = TrainInteractions.from_tokens(np.append(users, "hermit"), np.append(items, "a-lone-item"))
    vectors = structure_vectors(with_isolated, 16)
    assert with_isolated.item_tokens[0] == "a-lone-item"
    assert not vectors[0].any()
    np.testing.assert_array_equal(vectors[1:], linked)


@pytest.mark.parametrize("dimension", [4, 28])
def test_iterative_and_dense_solver_agree(dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The solver for many items gives the vectors of the exact one, signs included (all eigenvalues differ here)."""
    train = random_interactions(40, 30, 0.15, seed=1)
    exact = structure_vectors(train, dimension)
    monkeypatch.setattr(structure, "_DENSE_ITEMS", 0)
    np.testing.assert_allclose(structure_vectors(train, dimension), exact, atol=1e-4)


LARGE = {
    "random": lambda: random_interactions(900, 700, 0.004, seed=0),
    "path": lambda: path_graph(600),
    "complete": lambda: block_interactions(blocks=1, users=1, items=600, missing=0),
    "star": lambda: star_graph(600),
    "chain of dense blocks": lambda: bridged_blocks(blocks=9, users=3, items=70, missing=0),
    "many blocks": lambda: block_interactions(blocks=40, users=12, items=20, missing=3),
    "many small components": lambda: block_interactions(blocks=200, users=3, items=3, missing=1),
    "many pairs": lambda: block_interactions(blocks=300, users=1, items=2, missing=0),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_and_degenerate_graphs(name: str) -> None:
    """More items than the dense solver takes, and many equal eigenvalues, where an iterative solver stalls or restarts.

    The vectors come, twice the same, and with the eigenvalues of the dense Laplacian, of which some are nearly equal.
    """
    train = LARGE[name]()
    assert train.n_items > structure._DENSE_ITEMS
    vectors = structure_vectors(train, 32)
    np.testing.assert_array_equal(structure_vectors(train, 32), vectors)
    linked, matrix = laplacian(train)
    n_components = connected_components(matrix != 0, directed=False)[0]
    expected = np.linalg.eigvalsh(matrix)[n_components:][:32]
    used = vectors[linked].astype(np.float64)[:, : len(expected)]
    np.testing.assert_allclose(np.einsum("ij,ij->j", used, matrix @ used), expected, atol=2e-3)


def test_the_order_of_the_pairs_changes_nothing() -> None:
    """Vectors depend on the set of train pairs only, bit for bit."""
    users, items = block_pairs()
    order = np.random.default_rng(5).permutation(len(users))
    np.testing.assert_array_equal(
        structure_vectors(TrainInteractions.from_tokens(users[order], items[order]), 32),
        structure_vectors(TrainInteractions.from_tokens(users, items), 32),
    )
