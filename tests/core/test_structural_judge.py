"""The structural rule is computed exactly, and its controls control what they say."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_python import history_similarity, random_interactions, random_paths, user_sets

from recbole_dtlns.judges import history
from recbole_dtlns.judges.contract import Label, Question, Verdicts
from recbole_dtlns.judges.controls import AlwaysJudge, ConstantJudge, NeverJudge, RandomJudge, ShuffledJudge
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.trees import item_tree
from recbole_dtlns.trees.item_tree import ItemTree


def random_question(seed: int, missing: float = 0.2, n_users: int = 8, n_items: int = 20) -> Question:
    """Random histories, trees in which some items have no path, and every unobserved pair as a candidate."""
    train = random_interactions(n_users, n_items, 0.15, seed)
    pairs = [
        (user, item) for user, seen in enumerate(user_sets(train)) for item in range(train.n_items) if item not in seen
    ]
    users, items = np.array(pairs, dtype=np.int32).T
    structure, semantic = (
        ItemTree.from_paths(random_paths(train.n_items, 2 * seed + tree, missing)) for tree in range(2)
    )
    candidates = Candidates(users, items, np.zeros_like(users), np.zeros(len(users), np.float32))
    return Question(train, candidates, {"structure": structure, "semantic": semantic})


def expected_similarities(question: Question) -> list[float | None]:
    """The rule in plain Python: largest similarity to the history over both trees; None where neither can tell."""
    histories = user_sets(question.train)
    result = []
    for user, item in zip(question.candidates.users.tolist(), question.candidates.items.tolist(), strict=True):
        found = [
            history_similarity(histories[user], item, tree.paths) for tree in (question.structure, question.semantic)
        ]
        result.append(max((value for value in found if value is not None), default=None))
    return result


@given(
    seed=st.integers(0, 30),
    missing=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    threshold=st.sampled_from([1 / 3, 0.5, 2 / 3, 1.0]),
    chunk=st.sampled_from([1, 7, 4_000_000]),
    table_leaves=st.sampled_from([0, 4096]),
)
def test_verdicts_are_the_rule(seed: int, missing: float, threshold: float, chunk: int, table_leaves: int) -> None:
    """Probability, label and abstentions equal plain Python, for any share of items without a path.

    However many comparisons are held at once, and whether leaves are looked up in a table or are too many for one.
    """
    question = random_question(seed, missing)
    with (
        mock.patch.object(history, "_CHUNK_COMPARISONS", chunk),
        mock.patch.object(item_tree, "_TABLE_LEAVES", table_leaves),
    ):
        verdicts = StructuralJudge(threshold=threshold).judge(question)
    expected = expected_similarities(question)
    unknown = [value is None for value in expected]
    similarity = np.array([0.0 if value is None else value for value in expected])
    label = np.where(unknown, Label.ABSTAIN, np.where(similarity > threshold - 1e-9, Label.POSITIVE, Label.NEGATIVE))
    np.testing.assert_array_equal(np.isnan(verdicts.probability), unknown)
    np.testing.assert_allclose(np.nan_to_num(verdicts.probability), similarity, rtol=1e-6)
    np.testing.assert_array_equal(verdicts.label, label)
    assert list(verdicts.abstained.values()) == ([sum(unknown)] if any(unknown) else [])
    assert verdicts.counts() == {name.name.lower(): int((label == name).sum()) for name in Label}


def test_the_reference_meets_every_kind_of_answer() -> None:
    """Guards the test above: its random questions hold positives, negatives and abstentions."""
    question = random_question(0, missing=0.6)
    assert set(StructuralJudge(threshold=0.5).judge(question).label.tolist()) == set(Label)


def test_a_prefix_shared_in_either_tree_is_enough() -> None:
    """Known answer: the trees are joined by "or", and an item in one tree only is judged by that one."""
    train = random_interactions(1, 1, 1.0, seed=0)
    train = type(train).from_tokens(["u", "v", "v", "v", "v"], ["a", "b", "c", "d", "e"])
    users, items = np.zeros(4, np.int32), np.array([1, 2, 3, 4], np.int32)
    candidates = Candidates(users, items, items - 1, np.zeros(4, np.float32))
    structure = ItemTree.from_paths(["0-1", "0-1", "1-1", "1-1", ""])
    semantic = ItemTree.from_paths(["2-2", "3-0", "2-2", "", ""])
    verdicts = StructuralJudge(threshold=1.0).judge(
        Question(train, candidates, {"structure": structure, "semantic": semantic})
    )
    assert verdicts.label.tolist() == [Label.POSITIVE, Label.POSITIVE, Label.NEGATIVE, Label.ABSTAIN]
    assert verdicts.abstained == {"candidate or history is in neither tree": 1}


def test_without_candidates_there_are_no_verdicts() -> None:
    """A teacher may find nothing unobserved; that is an empty answer, not an error."""
    question = random_question(0)
    empty = Candidates(*(np.array([], dtype) for dtype in (np.int32, np.int32, np.int32, np.float32)))
    verdicts = StructuralJudge(threshold=1.0).judge(Question(question.train, empty, question.views))
    assert len(verdicts.probability) == len(verdicts.label) == 0


@pytest.mark.parametrize(("judge", "answer"), [(AlwaysJudge(), Label.POSITIVE), (NeverJudge(), Label.NEGATIVE)])
def test_constant_judges_answer_one_thing(judge: ConstantJudge, answer: Label) -> None:
    """`always` and `never` are certain of every pair."""
    verdicts = judge.judge(random_question(1))
    assert set(verdicts.label.tolist()) == {answer}
    assert set(verdicts.probability.tolist()) == {float(answer)}


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_random_judge_keeps_its_rate_and_its_seed(rate: float) -> None:
    """The share of positives is the rate; the same seed repeats the draws, another does not."""
    question = random_question(1, n_users=80, n_items=100)
    first, again, other = (RandomJudge(rate=rate, seed=seed).judge(question).label for seed in (3, 3, 4))
    n = len(question.candidates)
    assert abs(first.mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / n)
    np.testing.assert_array_equal(first, again)
    assert (first == other).all() == (rate in (0.0, 1.0))


def clustered_question() -> Question:
    """Users who like one of four subtrees; half of the candidates lie in it."""
    tree = ItemTree.from_paths([f"{item // 25}" for item in range(100)])
    users = np.repeat(np.arange(40), 10)
    items = (users % 4) * 25 + np.tile(np.arange(10), 40)
    train = random_interactions(1, 1, 1.0, seed=0)
    all_items = [f"i{item:03d}" for item in range(100)]
    train = type(train).from_tokens(
        [f"u{user:02d}" for user in users] + ["z"] * 100, [f"i{item:03d}" for item in items] + all_items
    )
    asked = np.repeat(np.arange(40, dtype=np.int32), 2)
    wanted = ((asked % 4 + np.tile([0, 1], 40)) % 4 * 25 + 20).astype(np.int32)
    candidates = Candidates(asked, wanted, np.tile(np.array([0, 1], np.int32), 40), np.zeros(80, np.float32))
    return Question(train, candidates, {"structure": tree, "semantic": tree})


def accuracy(verdicts: Verdicts) -> float:
    return float((verdicts.label == np.tile([1, 0], 40)).mean())


def test_shuffling_the_trees_destroys_the_rule() -> None:
    """Where the rule is always right, the same rule on shuffled paths is no better than chance: it reads the trees."""
    question = clustered_question()
    assert accuracy(StructuralJudge(threshold=1.0).judge(question)) == 1.0
    shuffled = [accuracy(ShuffledJudge(threshold=1.0, seed=seed).judge(question)) for seed in range(20)]
    assert abs(np.mean(shuffled) - 0.5) < 0.1


def test_shuffling_keeps_the_trees_shape_and_repeats_by_seed() -> None:
    """The control differs from the rule only in which item has which path."""
    question = random_question(2)
    first, again, other = (ShuffledJudge(threshold=0.5, seed=seed).judge(question) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.label, again.label)
    assert (first.label != other.label).any()
