"""Histories in the order of time are what a plain walk over them gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plain_python import random_interactions, random_sequences, sequences

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.transitions import last_items, step_entries, steps
from recbole_dtlns.errors import DataError


def in_order(train: TrainInteractions, user: str) -> list[str]:
    """Item tokens of a user, the oldest first."""
    users, items = train.histories()
    mine = np.flatnonzero(train.user_tokens[users] == user)
    return train.item_tokens[items[mine[np.argsort(-train.ages[mine])]]].tolist()


def test_pairs_are_ordered_by_time_and_those_of_one_time_by_row() -> None:
    rows = [("u", "d", 5), ("v", "a", 1), ("u", "b", 7), ("u", "c", 5), ("u", "a", 5), ("v", "c", 0)]
    users, items, times = zip(*rows, strict=True)
    train = TrainInteractions.from_tokens(np.array(users), np.array(items), np.array(times))
    assert in_order(train, "u") == ["d", "c", "a", "b"]
    assert in_order(train, "v") == ["c", "a"]
    unknown = replace(train, rows=None)
    assert in_order(unknown, "u") == ["a", "c", "d", "b"], "by item where rows are not known"


def test_a_repeated_pair_stands_where_it_was_last() -> None:
    """By time, and of one time by row."""
    rows = [("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("u", "c", 0), ("u", "d", 2), ("u", "b", 2)]
    users, items, times = zip(*rows, strict=True)
    train = TrainInteractions.from_tokens(np.array(users), np.array(items), np.array(times))
    assert in_order(train, "u") == ["c", "d", "b", "a"]


def test_pairs_without_a_time_come_first() -> None:
    train = TrainInteractions.from_tokens(
        np.array(["u"] * 3), np.array(["a", "b", "c"]), np.array([-np.inf, 0.0, -np.inf])
    )
    assert in_order(train, "u") == ["a", "c", "b"]


@pytest.mark.parametrize("seed", range(3))
def test_order_survives_hiding(seed: int) -> None:
    train = random_sequences(20, 15, 0.3, seed)
    hidden = np.random.default_rng(seed).random(train.matrix.nnz) < 0.4
    users, items = train.histories()
    gone = set(zip(users[hidden].tolist(), items[hidden].tolist(), strict=True))
    expected = [[item for item in history if (user, item) not in gone] for user, history in enumerate(sequences(train))]
    assert sequences(train.without(hidden)) == expected
    left = train.without(hidden)
    for user, history in enumerate(expected):
        mine = left.histories()[0] == user
        assert left.histories()[1][mine][np.argsort(-left.ages[mine])].tolist() == history


@pytest.mark.parametrize("most", [1, 3, 50])
@pytest.mark.parametrize("share", [0.05, 0.4])
def test_steps_and_last_items_are_a_walk_over_the_histories(share: float, most: int) -> None:
    train = random_sequences(25, 18, share, seed=1)
    before, after, last = [], [], np.zeros((train.n_users, train.n_items))
    for user, history in enumerate(sequences(train)):
        for place, item in enumerate(history):
            if place:
                row = np.zeros(train.n_items)
                for distance in range(1, min(place, most) + 1):
                    row[history[place - distance]] = 0.7 ** (distance - 1)
                before.append(row)
                after.append(np.eye(train.n_items)[item])
        for age, item in enumerate(history[::-1][:most]):
            last[user, item] = 0.7**age
    found = steps(train, most, 0.7)
    np.testing.assert_allclose(found.before.toarray(), np.array(before), rtol=1e-6)
    np.testing.assert_array_equal(found.after.toarray(), np.array(after))
    np.testing.assert_allclose(last_items(train, most, 0.7).toarray(), last, rtol=1e-6)
    assert step_entries(train, most) == found.before.nnz + found.after.nnz


def test_users_with_one_item_make_no_step() -> None:
    train = TrainInteractions.from_tokens(np.array(["u", "v"]), np.array(["a", "b"]), np.array([1.0, 2.0]))
    found = steps(train, 5, 0.5)
    assert found.before.shape == found.after.shape == (0, 2) and step_entries(train, 5) == 0
    assert last_items(train, 5, 0.5).toarray().tolist() == [[1, 0], [0, 1]]


def test_without_times_there_is_no_order() -> None:
    with pytest.raises(DataError, match=r"hold no times: name the TIME_FIELD \(timestamp\) in load_col"):
        steps(random_interactions(5, 5, 0.5, seed=0), 5, 0.5)
