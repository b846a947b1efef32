"""TransitionRidge and MarkovChain compute their formulas from the order of histories, and no thread changes a bit."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pytest
from block_data import block_interactions
from plain_python import random_interactions, random_sequences, sequences
from threadpoolctl import threadpool_limits

from recbole_dtlns.data import co_occurrence
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.teachers import restricted_ridge
from recbole_dtlns.teachers.contract import Teacher, top_candidates
from recbole_dtlns.teachers.markov_chain import MarkovChain
from recbole_dtlns.teachers.memory import bytes_of_transitions
from recbole_dtlns.teachers.table import TEACHERS
from recbole_dtlns.teachers.transition_ridge import TransitionRidge

KNOW_ORDER = [TransitionRidge, MarkovChain]


def window(history: list[int], stop: int, most: int, decay: float, n_items: int) -> np.ndarray:
    """The last items before a place, the nearest of the weight 1."""
    row = np.zeros(n_items)
    for distance in range(1, min(stop, most) + 1):
        row[history[stop - distance]] = decay ** (distance - 1)
    return row


def plain_ridge(train: TrainInteractions, k: int, reg: float, last: int, decay: float) -> np.ndarray:
    """Scores of all users, 0 where there is none: step by step, then item by item, with dense matrices."""
    n_items, histories = train.n_items, sequences(train)
    made = [(history, place) for history in histories for place in range(1, len(history))]
    inputs = np.array([window(history, place, last, decay, n_items) for history, place in made])
    targets = np.array([np.eye(n_items)[history[place]] for history, place in made])
    lengths = np.linalg.norm(inputs, axis=0), np.linalg.norm(targets, axis=0)
    weights = np.zeros((n_items, n_items))
    for item in range(n_items):
        shared = inputs.T @ targets[:, item]
        cosine = np.divide(shared, lengths[0] * lengths[1][item], out=np.zeros(n_items), where=shared > 0)
        cosine = cosine.astype(np.float32)
        near = [other for other in np.lexsort((np.arange(n_items), -cosine))[:k] if cosine[other] > 0]
        if near:
            part = inputs[:, near]
            weights[near, item] = np.linalg.solve(part.T @ part + reg * np.eye(len(near)), shared[near])
    return np.array([window(history, len(history), last, decay, n_items) for history in histories]) @ weights


@pytest.mark.parametrize(("last", "decay"), [(1, 0.8), (3, 0.5), (50, 1.0)])
@pytest.mark.parametrize(("k", "reg"), [(200, 0.5), (200, 30.0), (5, 2.0)])
def test_the_ridge_is_its_formula(k: int, reg: float, last: int, decay: float) -> None:
    """Also where times are equal or missing, items have fewer neighbours than k, and some none."""
    for share in (0.06, 0.3):
        train = random_sequences(40, 25, share, seed=3)
        teacher = TransitionRidge(k=k, reg=reg, last=last, decay=decay, dimension=4)
        found = teacher.fit(train).scores(np.arange(train.n_users)).toarray()
        np.testing.assert_allclose(found, plain_ridge(train, k, reg, last, decay), rtol=1e-4, atol=1e-6)


def plain_markov(train: TrainInteractions, order: int, decay: float, power: float, k: int) -> np.ndarray:
    """Scores of all users, 0 where there is none, pair by pair."""
    n_items, histories = train.n_items, sequences(train)
    counts = np.zeros((n_items, n_items))
    for history in histories:
        for place, item in enumerate(history):
            for distance in range(1, min(place, order) + 1):
                counts[history[place - distance], item] += decay ** (distance - 1)
    weights = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9) ** power
    for row in weights:
        row[np.lexsort((np.arange(n_items), -row.astype(np.float32)))[k:]] = 0
    return np.array([window(history, len(history), order, decay, n_items) for history in histories]) @ weights


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("order", "decay", "k"), [(1, 0.8, 1000), (4, 0.6, 1000), (50, 1.0, 1000)])
def test_the_chain_is_its_formula(order: int, decay: float, k: int, power: float) -> None:
    train = random_sequences(40, 25, 0.2, seed=4)
    teacher = MarkovChain(order=order, decay=decay, power=power, k=k, dimension=4)
    found = teacher.fit(train).scores(np.arange(train.n_users)).toarray()
    np.testing.assert_allclose(found, plain_markov(train, order, decay, power, k), rtol=1e-4, atol=1e-6)


def test_the_chain_keeps_the_strongest_followers() -> None:
    """With decays that make all counts different."""
    train = random_sequences(60, 20, 0.3, seed=5)
    teacher = MarkovChain(order=30, decay=0.937, power=0.5, k=3, dimension=4)
    found = teacher.fit(train).scores(np.arange(train.n_users)).toarray()
    np.testing.assert_allclose(found, plain_markov(train, 30, 0.937, 0.5, 3), rtol=1e-4, atol=1e-6)


def timed(*histories: str) -> TrainInteractions:
    """A user for each text, whose letters are items in their order."""
    rows = [(f"u{user}", item, time) for user, history in enumerate(histories) for time, item in enumerate(history)]
    users, items, times = zip(*rows, strict=True)
    return TrainInteractions.from_tokens(np.array(users), np.array(items), np.array(times, dtype=np.float64))


def test_a_chain_of_first_order_says_how_often_what_came_next() -> None:
    """After a came b twice and c once; nothing came after c. What was there before the last item does not count."""
    train = timed("ab", "ab", "ac", "ba", "ca")
    scores = MarkovChain(order=1, power=1.0, dimension=2).fit(train).scores(np.arange(5)).toarray()
    np.testing.assert_allclose(scores[3], [0, 2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(scores[0], [1, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("make", KNOW_ORDER)
def test_what_follows_ranks_above_what_comes_before(make: type[Teacher]) -> None:
    """Everybody walks along the letters: after c comes d, and neither b nor e."""
    train = timed(*["abcdef"] * 8, "xc")
    fitted = make().fit(train)
    found = top_candidates(fitted, train, 6)
    last_user = found.items[found.users == train.n_users - 1]
    assert train.item_tokens[last_user].tolist() == ["d", "e", "f"]


@pytest.mark.parametrize("make", KNOW_ORDER)
def test_the_same_pairs_in_another_order_are_another_matter(make: type[Teacher]) -> None:
    train = timed("abcd", "abce", "abcd")
    backwards = replace(train, times=-train.times)
    first, second = (make().fit(one).scores(np.arange(3)).toarray() for one in (train, backwards))
    assert not np.allclose(first, second)


def bits(teacher: Teacher, train: TrainInteractions) -> bytes:
    fitted: Any = teacher.fit(train)
    scores = fitted.scores(np.arange(train.n_users))
    return b"".join(part.tobytes() for part in (scores.data, scores.indices, scores.indptr, fitted.item_vectors))


@pytest.mark.parametrize("teacher", [TransitionRidge(k=20, dimension=8), MarkovChain(dimension=8)])
def test_threads_change_no_bit(teacher: Teacher) -> None:
    train = random_sequences(300, 200, 0.05, seed=6)
    with mock.patch.object(co_occurrence, "_PRODUCTS_AT_ONCE", 500):
        found = []
        for threads in (1, 2, 4):
            with threadpool_limits(threads):
                found.append(bits(teacher, train))
    assert found[0] == found[1] == found[2] == bits(teacher, train)


@pytest.mark.parametrize("at_once", [{"_PAIRS_AT_ONCE": 1}, {"_DENSE_AT_ONCE": 40}, {"_ITEMS_AT_ONCE": 3}])
def test_groups_change_no_weight(at_once: dict[str, int]) -> None:
    train = random_sequences(60, 40, 0.2, seed=7)
    teacher, users = TransitionRidge(k=10, dimension=4), np.arange(60)
    whole = teacher.fit(train).scores(users).toarray()
    with mock.patch.multiple(restricted_ridge, **at_once):
        np.testing.assert_allclose(teacher.fit(train).scores(users).toarray(), whole, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("make", KNOW_ORDER)
def test_users_with_one_item_each_say_nothing_and_nothing_fails(make: type[Teacher]) -> None:
    n = 50
    tokens = np.array([f"t{number:02d}" for number in range(n)])
    train = TrainInteractions.from_tokens(tokens, tokens, np.arange(n, dtype=np.float64))
    fitted = make().fit(train)
    assert fitted.scores(np.arange(n)).nnz == 0
    assert fitted.item_vectors.shape == (n, 64) and not fitted.item_vectors.any()
    assert len(top_candidates(fitted, train, 5)) == 0


def test_progress_counts_every_item_once() -> None:
    train = random_sequences(40, 30, 0.06, seed=8)
    told: list[int] = []
    TransitionRidge(k=5).fit(train, progress=told.append)
    assert sum(told) == train.n_items and len(told) > 1


@pytest.mark.parametrize("make", KNOW_ORDER)
def test_what_does_not_fit_the_memory_is_refused(make: type[Teacher], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any work, with the size and what to lower."""
    train = random_sequences(40, 30, 0.2, seed=9)
    teacher = make()
    most = teacher.config.last if isinstance(teacher, TransitionRidge) else teacher.config.order
    needed = bytes_of_transitions(train, most, teacher.config.k)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed - 1))
    with pytest.raises(ConfigError, match=rf"{make.__name__} needs about \S+ GiB .*set dtlns_teacher_\w+: 5"):
        teacher.fit(train)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed))
    teacher.fit(train)


@pytest.mark.parametrize("make", KNOW_ORDER)
def test_data_without_times_are_refused(make: type[Teacher]) -> None:
    with pytest.raises(DataError, match="hold no times: name the TIME_FIELD"):
        make().fit(random_interactions(10, 10, 0.3, seed=0))


def test_an_l2_weight_that_rounding_loses_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"which rounding loses .*: set dtlns_teacher_transition_reg to"):
        TransitionRidge(reg=1e-300).fit(random_sequences(20, 10, 0.5, seed=0))


def test_these_and_no_others_say_that_they_read_the_order() -> None:
    found = {name for name in TEACHERS.names() if TEACHERS.get(name).reads_order}
    assert found == {"TransitionRidge", "MarkovChain"}


def test_memory_asked_for_grows_with_pairs_and_not_with_items_squared() -> None:
    small, large = (
        replace(train, times=np.arange(train.matrix.nnz, dtype=np.float64))
        for train in (block_interactions(blocks=blocks, users=20, items=50, missing=5) for blocks in (10, 20))
    )
    assert bytes_of_transitions(large, 20, 200) == 2 * bytes_of_transitions(small, 20, 200)
