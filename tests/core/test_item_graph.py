"""What bounds the item graph: sampled histories, strongest edges, and nothing else."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from plain_python import random_interactions, random_sequences, sequences

from recbole_dtlns.data import co_occurrence
from recbole_dtlns.data.co_occurrence import co_occurrence_blocks
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.numerics import top_entries as top_entries_module
from recbole_dtlns.numerics.key_filter import KeyFilter
from recbole_dtlns.numerics.top_entries import top_entries
from recbole_dtlns.trees.structure import item_graph, structure_vectors, transition_graph

values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 1e-30, -1e30, np.inf, -np.inf])


@given(
    arrays(np.float32, (6, 9), elements=values),
    arrays(bool, (6, 9)),
    st.integers(1, 10),
    st.integers(1, 60),
    st.integers(9, 2**31 - 1),
)
def test_top_entries_are_the_largest_stored_ones(
    dense: np.ndarray, stored: np.ndarray, k: int, at_once: int, width: int
) -> None:
    """By value, then column, in blocks of any size and for any number of columns; zeros that are stored count."""
    rows, columns = np.nonzero(stored)
    shuffled = np.lexsort((-columns, rows))
    indptr = np.searchsorted(rows, np.arange(7))
    matrix = sp.csr_array((dense[stored][shuffled], columns[shuffled], indptr), shape=(6, width))
    expected = []
    for row in range(6):
        entries = [(-dense[row, column] + 0.0, column) for column in np.flatnonzero(stored[row]).tolist()]
        expected += [(row, column, -value) for value, column in sorted(entries)[:k]]
    with mock.patch.object(top_entries_module, "_ENTRIES_AT_ONCE", at_once):
        found = top_entries(matrix, k)
    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


@given(st.sets(st.integers(0, 2**40)), st.lists(st.integers(0, 2**40), max_size=30), st.data())
def test_a_key_filter_finds_its_keys(members: set[int], others: list[int], data: st.DataObject) -> None:
    """All of them wherever they stand, and no other."""
    known = data.draw(st.lists(st.sampled_from(sorted(members)))) if members else []
    keys = data.draw(st.permutations(others + known))
    found = KeyFilter(np.array(sorted(members), np.int64)).places_of(np.array(keys, np.int64))
    assert found.tolist() == [place for place, key in enumerate(keys) if key in members]


@pytest.mark.parametrize("at_once", [1, 50, 10**6])
def test_blocks_hold_the_numbers_of_shared_users(at_once: int) -> None:
    """Stacked they are R^T R, whatever the size of a block."""
    train = random_interactions(20, 15, 0.3, seed=3)
    with mock.patch.object(co_occurrence, "_PRODUCTS_AT_ONCE", at_once):
        blocks = list(co_occurrence_blocks(train))
    matrix = train.matrix.toarray()
    assert [start for start, _ in blocks] == list(np.cumsum([0] + [block.shape[0] for _, block in blocks]))[:-1]
    np.testing.assert_array_equal(sp.vstack([block for _, block in blocks]).toarray(), matrix.T @ matrix)


def test_sampled_histories_keep_the_expected_number_of_shared_users() -> None:
    """Of 400 users with 12 items each, 4 count: the mean over pairs of items is the exact one, and most are near it."""
    users = np.repeat(np.arange(400), 12)
    items = np.concatenate([np.random.default_rng(user).permutation(20)[:12] for user in range(400)])
    train = TrainInteractions.from_tokens(users.astype(str), items.astype(str))
    exact = (train.matrix.T @ train.matrix).toarray()
    sampled = np.vstack([block.toarray() for _, block in co_occurrence_blocks(train, max_history=4)])
    apart = ~np.eye(20, dtype=bool)
    assert sampled[apart].mean() == pytest.approx(exact[apart].mean(), rel=1e-5)
    assert np.abs(sampled[apart] / exact[apart] - 1).mean() < 0.35


def test_histories_up_to_the_bound_are_not_sampled() -> None:
    train = random_interactions(20, 15, 0.4, seed=4)
    longest = int(np.diff(train.matrix.indptr).max())
    matrix = train.matrix.toarray()
    found = np.vstack([block.toarray() for _, block in co_occurrence_blocks(train, max_history=longest)])
    np.testing.assert_array_equal(found, matrix.T @ matrix)
    cut = np.vstack([block.toarray() for _, block in co_occurrence_blocks(train, max_history=longest - 1)])
    assert (cut != found).any()


@pytest.mark.parametrize("neighbours", [1, 3, 15])
def test_an_edge_stays_where_it_is_among_the_strongest_of_either_item(neighbours: int) -> None:
    """Symmetric; every item keeps its k strongest, equal ones by id, and those that chose it."""
    train = random_interactions(20, 15, 0.25, seed=5)
    full = item_graph(train, neighbours=10**6).toarray()
    chosen = np.zeros_like(full, dtype=bool)
    for item, weights in enumerate(full):
        best = [other for other in np.argsort(-weights, kind="stable").tolist() if weights[other] > 0][:neighbours]
        chosen[item, best] = True
    found = item_graph(train, neighbours).toarray()
    np.testing.assert_array_equal(found, np.where(chosen | chosen.T, full, 0))


def test_sampled_graphs_are_graphs() -> None:
    """Weights stay in (0, 1], symmetric, without loops, however few items of a history count."""
    train = random_interactions(60, 30, 0.4, seed=6)
    for max_history in (2, 3, 5):
        graph = item_graph(train, 200, max_history)
        assert graph.nnz and graph.data.min() > 0 and graph.data.max() <= 1
        assert not graph.diagonal().any()
        np.testing.assert_array_equal(graph.toarray(), graph.toarray().T)
        np.testing.assert_array_equal(item_graph(train, 200, max_history).toarray(), graph.toarray())


@pytest.mark.parametrize("neighbours", [100, 2])
def test_the_graph_of_transitions_is_its_formula(neighbours: int) -> None:
    """Nearness counts, and which item comes first does not."""
    train = random_sequences(60, 18, 0.4, seed=2)
    counts = np.zeros((train.n_items, train.n_items))
    for history in sequences(train):
        for place, item in enumerate(history):
            for distance, other in enumerate(history[place + 1 : place + 21]):
                counts[item, other] += 0.8**distance
                counts[other, item] += 0.8**distance
    total = counts.sum(axis=1)
    weights = counts / (total[:, None] + total - counts)
    strongest = -np.sort(-weights, axis=1)[:, min(neighbours, train.n_items) - 1]
    kept = weights >= strongest[:, None] * (1 - 1e-6)
    found = transition_graph(train, neighbours)
    np.testing.assert_allclose(found.toarray(), np.where(kept | kept.T, weights, 0), rtol=1e-5)
    assert (found != found.T).nnz == 0


def test_vectors_of_transitions_part_walks_that_share_all_items() -> None:
    """Half of the users walk through one half of the items and then the other, the others the other way round: users
    join all items alike, steps join those of one half."""
    halves = [[f"a{item}" for item in range(8)], [f"b{item}" for item in range(8)]]
    random, rows = np.random.default_rng(0), []
    for user in range(40):
        first, second = halves if user % 2 else halves[::-1]
        for time, item in enumerate([*random.permutation(first), *random.permutation(second)]):
            rows.append((f"u{user:02d}", item, time))
    users, items, times = zip(*rows, strict=True)
    train = TrainInteractions.from_tokens(np.array(users), np.array(items), np.array(times, dtype=np.float64))
    side = np.sign(structure_vectors(train, 1, graph="transitions")[:, 0])
    assert len(set(side[:8])) == len(set(side[8:])) == 1 and side[0] != side[8]
