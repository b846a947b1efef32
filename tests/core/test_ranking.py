"""The best items of many users: what sorting all scores gives, in blocks of any size."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.serving.histories import Histories
from recbole_dtlns.serving.ranking import Excluded, rank

N_USERS, N_ITEMS = 7, 12


class Known:
    """Scores that are all different."""

    n_items = N_ITEMS

    def __init__(self, scores_at_once: int, seed: int) -> None:
        self.scores_at_once = scores_at_once
        order = np.random.default_rng(seed).permutation(N_USERS * N_ITEMS)
        self.table = torch.as_tensor(order.reshape(N_USERS, N_ITEMS), dtype=torch.float32)

    def block(self, users: np.ndarray, items: np.ndarray | None) -> torch.Tensor:
        rows = self.table[users].clone()
        return rows if items is None else rows[:, items]

    def pairs(self, users: np.ndarray, items: np.ndarray) -> torch.Tensor:
        return self.table[users, items]


pairs = st.lists(st.tuples(st.integers(0, N_USERS - 1), st.integers(1, N_ITEMS - 1)), max_size=40)
some_items = st.sets(st.integers(1, N_ITEMS - 1), min_size=1)


@given(
    seed=st.integers(0, 9),
    at_once=st.integers(1, 200),
    k=st.integers(1, 15),
    users=st.permutations(range(N_USERS)),
    first=pairs,
    second=pairs,
    never=st.sets(st.integers(1, N_ITEMS - 1)),
    candidates=st.none() | some_items,
)
def test_lists_are_what_sorting_all_scores_gives(
    seed: int, at_once: int, k: int, users: list[int], first: list, second: list, never: set, candidates: set | None
) -> None:
    scores = Known(at_once, seed)
    histories = [
        Histories.of(PairSet.of(*np.array(some, dtype=np.int64).reshape(-1, 2).T), N_USERS) for some in (first, second)
    ]
    excluded = Excluded(histories, np.array(sorted(never), dtype=np.int64))
    shown = None if candidates is None else np.array(sorted(candidates))
    blocks = list(rank(scores, np.array(users), k, excluded, shown))
    assert np.concatenate([block.users for block in blocks]).tolist() == users
    lists = dict(zip(users, np.concatenate([block.items for block in blocks]).tolist(), strict=True))
    for user, found in lists.items():
        left = set(range(1, N_ITEMS)) if candidates is None else candidates
        left = left - never - {item for whose, item in [*first, *second] if whose == user}
        best = sorted(left, key=lambda item: -float(scores.table[user, item]))[:k]
        assert found[: len(best)] == best and set(found[len(best) :]) <= {-1}


def test_histories_give_the_items_of_users_in_any_order() -> None:
    histories = Histories.of(PairSet.of(np.array([1, 1, 3]), np.array([5, 2, 9])), 5)
    rows, items = histories.of_users(np.array([3, 0, 1, 4]))
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == [(0, 9), (2, 2), (2, 5)]
    assert histories.of_user(1).tolist() == [2, 5] and histories.of_user(0).tolist() == []
    assert len(histories) == 3
