"""Oracle: metrics by user on lists whose answers are known, and masks applied after ranking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_dtlns.data.item_sets import Observed
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.evaluation.rankings import Rankings, Spread, equal_groups


def lists(*rows: list[int], users: list[int] | None = None) -> Rankings:
    items = np.array(rows)
    scores = np.where(items < 0, -np.inf, -np.arange(items.shape[1], dtype=np.float32))
    return Rankings(np.array(users or range(1, len(rows) + 1)), items, scores)


def pairs(*given: tuple[int, int]) -> Observed:
    users, items = np.array(given).reshape(-1, 2).T
    return Observed.of(users, items)


def test_metrics_of_known_lists() -> None:
    found = lists([5, 6, 7], [5, 6, 7]).metrics(
        pairs((1, 6), (1, 9), (2, 8)), ["Recall", "NDCG", "Hit", "MRR", "Precision"], [1, 3]
    )
    first = 1 / np.log2(3) / (1 + 1 / np.log2(3))  # at rank 2 of two that could be found
    expected = {
        "recall@1": [0, 0],
        "recall@3": [0.5, 0],
        "ndcg@1": [0, 0],
        "ndcg@3": [first, 0],
        "hit@3": [1, 0],
        "mrr@3": [0.5, 0],
        "precision@3": [1 / 3, 0],
    }
    for name, values in expected.items():
        assert found[name] == pytest.approx(values), name


def test_users_in_any_order_get_their_own_truth() -> None:
    found = lists([5, 6], [5, 6], users=[9, 2]).metrics(pairs((2, 5), (9, 6), (9, 7)), ["recall"], [2])
    assert found["recall@2"].tolist() == [0.5, 1.0]


def test_every_row_is_scored_by_its_own_hits() -> None:
    """Two users who find their item at another place; the third finds nothing."""
    found = lists([5, 6, 7], [5, 6, 7], [5, 6, 7]).metrics(
        pairs((1, 7), (2, 6), (3, 9)), ["mrr", "ndcg", "hit", "precision", "recall"], [3]
    )
    assert found["mrr@3"] == pytest.approx([1 / 3, 1 / 2, 0])
    assert found["ndcg@3"] == pytest.approx([1 / np.log2(4), 1 / np.log2(3), 0])
    assert found["hit@3"].tolist() == found["recall@3"].tolist() == [1, 1, 0]
    assert found["precision@3"] == pytest.approx([1 / 3, 1 / 3, 0])


def test_users_without_a_truth_have_no_value() -> None:
    found = lists([5, 6], [5, 6]).metrics(pairs((1, 5)), ["recall", "ndcg", "hit", "mrr", "precision"], [2])
    assert all(values[0] > 0 and np.isnan(values[1]) for values in found.values())


def test_lists_without_some_pairs_move_up() -> None:
    kept = lists([5, 6, 7, 8], [5, 6, 7, 8]).without(pairs((1, 5), (1, 7), (2, 1)), 2)
    assert kept.items.tolist() == [[6, 8], [5, 6]]
    assert kept.scores.tolist() == [[-1, -3], [0, -1]]


def test_short_lists_end_with_nothing() -> None:
    kept = lists([5, 6, -1]).without(pairs((1, 5)), 2)
    assert kept.items.tolist() == [[6, -1]]
    assert kept.scores.tolist() == [[-1, -np.inf]] and kept.scores.dtype == np.float32
    assert kept.metrics(pairs((1, 6)), ["recall", "precision"], [2])["precision@2"].tolist() == [0.5]


def test_lists_that_were_cut_too_early_are_refused() -> None:
    with pytest.raises(DataError, match="too short"):
        lists([5, 6, 7]).without(pairs((1, 5), (1, 6)), 2)


@pytest.mark.parametrize("other", [[8, -1, -1], [8, 9, -1]])
def test_a_list_that_was_cut_is_refused_beside_one_that_ended(other: list[int]) -> None:
    """That somebody's list holds all there is says nothing about another's."""
    with pytest.raises(DataError, match="too short"):
        lists([5, 6, 7], other).without(pairs((1, 5), (1, 6)), 2)


def test_item_zero_is_an_item_and_not_the_end_of_a_list() -> None:
    """Ids below zero end a list, no other does."""
    with pytest.raises(DataError, match="too short"):
        lists([0, 5, 6]).without(pairs((1, 5), (1, 6)), 2)
    ranked = lists([5, 0], [0, -1])
    assert ranked.found(pairs((1, 0), (2, 0), (2, 5))).tolist() == [True, True, False]
    assert ranked.hits(pairs((1, 0), (2, 0))).tolist() == [[False, True], [True, False]]
    spread = Spread.of(ranked, np.array([7, 0, 0, 0, 0, 1]), np.array([0, 5]))
    assert (spread.coverage, spread.popularity) == (1.0, pytest.approx((7 + 7 + 1) / 3))


def test_nothing_removed_and_nothing_recommended() -> None:
    """Empty sets of pairs, and no user at all."""
    nothing = pairs()
    assert lists([5, 6]).without(nothing, 2).items.tolist() == [[5, 6]]
    assert lists([5, 6]).found(nothing).tolist() == []
    nobody = Rankings(np.array([], np.int64), np.zeros((0, 2), np.int64), np.zeros((0, 2), np.float32))
    assert nobody.found(pairs((1, 5))).tolist() == [False]


@given(st.integers(0, 10_000))
def test_removing_after_ranking_equals_masking_before(seed: int) -> None:
    """The number of the leak is computed this way: from lists, after training."""
    random = np.random.default_rng(seed)
    scores = random.permutation(60).reshape(3, 20).astype(np.float32)
    masked = random.random((3, 20)) < 0.2
    users, items = np.nonzero(masked)
    deep = Rankings(np.arange(3), np.argsort(-scores, axis=1), -np.sort(-scores, axis=1))
    before = np.argsort(-np.where(masked, -np.inf, scores), axis=1, kind="stable")[:, :5]
    assert deep.without(Observed.of(users, items), 5).items.tolist() == before.tolist()


def test_unknown_metrics_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'auc'.*recall, ndcg"):
        lists([5]).metrics(pairs((1, 5)), ["auc"], [1])


def test_spread_of_known_recommendations() -> None:
    counts = np.array([0, 10, 20, 30, 40])
    alike = Spread.of(lists([1, 2], [3, 4]), counts, np.arange(1, 5))
    assert (alike.coverage, alike.gini, alike.popularity) == (1.0, 0.0, 25.0)
    narrow = Spread.of(lists([4], [4]), counts, np.arange(1, 5))
    assert (narrow.coverage, narrow.gini, narrow.popularity) == (0.25, 0.75, 40.0)


def test_spread_where_the_last_items_are_never_recommended() -> None:
    """One recommendation in all, of the first of four items."""
    one = Spread.of(lists([1]), np.array([0, 10, 20, 30, 40]), np.arange(1, 5))
    assert (one.coverage, one.gini, one.popularity) == (0.25, 0.75, 10.0)


def test_spread_of_no_recommendation() -> None:
    none = Spread.of(lists([-1, -1]), np.array([0, 10, 20]), np.arange(1, 3))
    assert (none.coverage, none.gini, none.popularity) == (0.0, 0.0, 0.0)


def test_groups_are_of_nearly_equal_size_and_never_part_equal_values() -> None:
    assert equal_groups(np.arange(8), 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len(set(equal_groups(np.array([1, 1, 1, 1, 1, 2]), 4)[:5].tolist())) == 1
    assert equal_groups(np.array([]), 4).tolist() == []


def test_no_group_is_empty() -> None:
    """Where values are few and different, groups are fewer than asked for, and numbered without gaps."""
    assert equal_groups(np.array([1, 1, 9, 9]), 4).tolist() == [0, 0, 1, 1]
    assert equal_groups(np.array([5, 2, 2]), 10).tolist() == [1, 0, 0]


def test_pairs_are_found_in_their_own_users_list() -> None:
    found = lists([5, 6], [7, -1]).found(pairs((1, 5), (1, 7), (2, 7), (3, 5)))
    assert found.tolist() == [True, False, True, False]
