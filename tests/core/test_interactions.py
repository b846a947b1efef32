"""Canonical ids depend on the train pairs and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import DataError
from recbole_dtlns.teachers.contract import top_candidates

token = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=3)
pair_lists = st.lists(st.tuples(token, token), min_size=1, max_size=15)


def from_pairs(pairs: list[tuple[str, str]]) -> TrainInteractions:
    return TrainInteractions.from_tokens([user for user, _ in pairs], [item for _, item in pairs])


def tokens_of(train: TrainInteractions) -> list[tuple[str, str]]:
    users, items = train.histories()
    return list(zip(train.user_tokens[users].tolist(), train.item_tokens[items].tolist(), strict=True))


@given(pair_lists, st.randoms(use_true_random=False))
def test_canonical_form(pairs: list[tuple[str, str]], random) -> None:
    """Sorted tokens, binary matrix, repeats counted, and the same whatever the order and repetition of the pairs."""
    train = from_pairs(pairs)
    assert tokens_of(train) == sorted(set(pairs))
    assert set(train.matrix.data.tolist()) == {1.0}
    assert train.duplicates == len(pairs) - len(set(pairs))
    shuffled = [*pairs, pairs[0]]
    random.shuffle(shuffled)
    again = from_pairs(shuffled)
    assert again.fingerprint == train.fingerprint
    assert again.duplicates == train.duplicates + 1


@given(pair_lists, pair_lists)
def test_fingerprints_are_equal_exactly_when_the_pairs_are(first: list, second: list) -> None:
    """Artefacts are named by this fingerprint: two train splits must never share one."""
    same = set(first) == set(second)
    assert (from_pairs(first).fingerprint == from_pairs(second).fingerprint) == same


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([("u", "a"), ("u", "b"), ("v", "a")], [("u", "a"), ("v", "a"), ("v", "b")]),  # same tokens, other pairs
        ([("u", "a"), ("v", "b")], [("u", "b"), ("v", "a")]),  # as many items per user, too
        ([("a", "x"), ("bc", "x")], [("ab", "x"), ("c", "x")]),  # same letters, other tokens
        ([("ab", "c")], [("a", "bc")]),
        ([("a", "x"), ("b", "x")], [("ab", "x")]),
        ([("u", "a")], [("a", "u")]),
    ],
)
def test_near_misses_have_other_fingerprints(first: list, second: list) -> None:
    """What concatenating tokens without lengths or separators would confuse."""
    assert from_pairs(first).fingerprint != from_pairs(second).fingerprint


def test_no_pair_at_all_is_refused() -> None:
    """An over-filtered data set fails at once and points to the settings that empty it."""
    with pytest.raises(DataError, match="train split is empty: check data_path, the filters"):
        TrainInteractions.from_tokens(np.array([]), np.array([]))


def test_unequal_lengths_are_refused() -> None:
    """Tokens that do not pair up are a caller's mistake, not data."""
    with pytest.raises(DataError, match="2 user tokens but 1 item tokens"):
        TrainInteractions.from_tokens(["u", "v"], ["i"])


def test_numeric_tokens_are_text() -> None:
    """Integer ids sort as the text that RecBole keeps, so both give the same canonical ids."""
    as_numbers = TrainInteractions.from_tokens(np.array([10, 9, 9]), np.array([2, 11, 2]))
    as_text = TrainInteractions.from_tokens(["10", "9", "9"], ["2", "11", "2"])
    assert as_numbers.item_tokens.tolist() == ["11", "2"]
    assert as_numbers.fingerprint == as_text.fingerprint


@given(st.lists(st.tuples(token, token, st.booleans()), min_size=1, max_size=15))
def test_what_is_not_liked_is_no_pair_and_known(rows: list[tuple[str, str, bool]]) -> None:
    """Of a pair with both labels, that it was liked counts; tokens are those of liked pairs."""
    users, items, liked = ([row[place] for row in rows] for place in range(3))
    if not any(liked):
        with pytest.raises(DataError, match="are labelled 0, so nobody likes anything"):
            TrainInteractions.from_tokens(users, items, liked=np.array(liked))
        return
    train = TrainInteractions.from_tokens(users, items, np.arange(len(rows)), np.array(liked))
    wanted = {(user, item) for user, item, one in rows if one}
    assert tokens_of(train) == sorted(wanted)
    others = {(user, item) for user, item, one in rows if not one} - wanted
    reachable = {
        pair for pair in others if pair[0] in train.user_tokens.tolist() and pair[1] in train.item_tokens.tolist()
    }
    found = (
        set()
        if train.disliked is None
        else set(zip(*(axis.tolist() for axis in train.disliked.nonzero()), strict=True))
    )
    assert {(train.user_tokens[user], train.item_tokens[item]) for user, item in found} == reachable
    assert train.labelled.nnz == len(wanted) + len(reachable)
    alone = from_pairs(sorted(wanted))
    assert (train.fingerprint == alone.fingerprint) == (not reachable)
    assert train.rows is not None
    assert [(users[row], items[row]) for row in train.rows] == tokens_of(train)
    assert all(liked[row] for row in train.rows)


def test_what_is_not_liked_is_no_candidate() -> None:
    users, items = ["a", "a", "b", "b", "b"], ["1", "2", "1", "2", "3"]
    train = TrainInteractions.from_tokens(users, items, liked=np.array([True, False, True, True, True]))

    class Fitted:
        item_vectors = np.zeros((3, 1), np.float32)

        def scores(self, asked: np.ndarray) -> np.ndarray:
            return np.ones((len(asked), 3), np.float32)

    found = top_candidates(Fitted(), train, 3)
    assert (found.users.tolist(), train.item_tokens[found.items].tolist()) == ([0], ["3"])


def test_what_is_not_liked_is_known_where_other_pairs_are_hidden() -> None:
    users, items = np.array(["a", "a", "b", "b"]), np.array(["x", "y", "x", "y"])
    train = TrainInteractions.from_tokens(users, items, liked=np.array([True, True, False, True]))
    hidden = train.without(np.array([True, False, False]))
    assert hidden.labelled.toarray().tolist() == [[0, 1], [1, 1]]
