"""What learnt judges see of the order of histories, and the controls that take it away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plain_python import random_sequences, sequences

from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.audit import audit
from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.contract import Question, Rehearsal
from recbole_dtlns.judges.controls import AlwaysJudge, with_shuffled_order, without_order
from recbole_dtlns.judges.features import feature_names, pair_features
from recbole_dtlns.teachers.closed_form import ItemKNN
from recbole_dtlns.teachers.contract import top_candidates
from recbole_dtlns.teachers.council import joined
from recbole_dtlns.teachers.markov_chain import MarkovChain
from recbole_dtlns.trees.item_tree import ItemTree
from recbole_dtlns.trees.structure import item_graph


def ask(train: TrainInteractions, council: bool = False) -> Question:
    """Candidates of a teacher that knows no order, or of two of which one does; trees say nothing."""
    tree = ItemTree.from_paths(["0"] * train.n_items)
    views = {"structure": tree, "semantic": tree}
    knn = top_candidates(ItemKNN(dimension=2).fit(train), train, 8)
    if not council:
        return Question(train, knn, views)
    chain = top_candidates(MarkovChain(dimension=2).fit(train), train, 8)
    found, opinions = joined({"ItemKNN": knn, "MarkovChain": chain}, train, 8, 8)
    return Question(train, found, views, opinions=replace(opinions, of_order=("MarkovChain",)))


def rehearsed(train: TrainInteractions, council: bool = False, within: bool = False) -> Question:
    reduced, hidden = hide_positives(train, 0.2, seed=0, last=True)
    known = rehearsed(reduced, council) if within else ask(reduced, council)
    asked = ask(train, council)
    return replace(asked, rehearsal=Rehearsal(known, hidden, asked))


def walks(users: int = 120, seed: int = 0) -> TrainInteractions:
    """Everybody walks a few steps along a ring of items, from anywhere; half of them the other way over odd items."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        start, step = random.integers(0, 24), 2 if user % 2 else 1
        rows += [(f"u{user:03d}", f"i{(start + step * place) % 24:02d}", place) for place in range(6)]
    names, items, times = zip(*rows, strict=True)
    return TrainInteractions.from_tokens(np.array(names), np.array(items), np.array(times, dtype=np.float64))


def test_features_of_order_are_what_their_names_say() -> None:
    """In plain Python, on histories of any length with equal and missing times."""
    train = random_sequences(30, 20, 0.25, seed=1)
    question = ask(train)
    names = feature_names(question.views, order=True)
    assert names[-3:] == ("transition", "transition_rank", "recency")
    found = pair_features(question, order=True)
    assert found.shape == (len(question.candidates), len(names)) and found.dtype == np.float32
    assert np.array_equal(found[:, :-3], pair_features(question))
    by_name = dict(zip(names, found.T, strict=True))
    scores, graph = MarkovChain(dimension=2).fit(train).scores(np.arange(train.n_users)).toarray(), item_graph(train)
    graph, histories = graph.toarray(), sequences(train)
    users, items = question.candidates.users, question.candidates.items
    for row, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        own = scores[user, item]
        assert by_name["transition"][row] == pytest.approx(own, rel=1e-5, abs=1e-7)
        rivals = np.flatnonzero(users == user)
        values = by_name["transition"][rivals]
        before = (values > by_name["transition"][row]) | ((values == by_name["transition"][row]) & (rivals < row))
        assert by_name["transition_rank"][row] == pytest.approx(np.log1p(before.sum()))
        latest_first = histories[user][::-1]
        whole = sum(graph[other, item] for other in latest_first)
        recent = sum(0.8**age * graph[other, item] for age, other in enumerate(latest_first))
        assert by_name["recency"][row] == pytest.approx(recent / whole if whole else 0, rel=1e-4, abs=1e-6)


def test_without_times_there_are_none() -> None:
    question = ask(walks())
    timeless = replace(question, train=replace(question.train, times=None, rows=None))
    assert np.array_equal(pair_features(timeless, order=True), pair_features(question))


def test_features_of_some_pairs_are_those_among_all_but_for_ranks() -> None:
    question = ask(walks())
    some = np.arange(1, len(question.candidates), 7)
    columns = [-3, -1]
    assert np.array_equal(
        pair_features(question.about(some), order=True)[:, columns],
        pair_features(question, order=True)[some][:, columns],
    )
    assert len(pair_features(question.about(some[:0]), order=True)) == 0


def test_without_order_nothing_of_it_is_left() -> None:
    asked = without_order(rehearsed(walks(), council=True))
    assert asked.rehearsal is not None
    for question in (asked, asked.rehearsal.question, asked.rehearsal.actual):
        assert question.train.times is None
        assert question.opinions is not None
        assert (question.opinions.names, question.opinions.of_order) == (("ItemKNN",), ())


def test_shuffled_order_deals_each_users_times_and_leaves_all_else() -> None:
    before, after = rehearsed(walks(), council=True), with_shuffled_order(rehearsed(walks(), council=True), seed=3)
    assert before.rehearsal is not None and after.rehearsal is not None
    assert np.array_equal(before.rehearsal.hidden, after.rehearsal.hidden)
    for first, second in ((before, after), (before.rehearsal.question, after.rehearsal.question)):
        assert first.train.fingerprint == second.train.fingerprint
        assert np.array_equal(first.candidates.items, second.candidates.items)
        users, _ = first.train.histories()
        assert not np.array_equal(first.train.ages, second.train.ages)
        for user in range(first.train.n_users):
            own = users == user
            assert sorted(first.train.times[own]) == sorted(second.train.times[own])
        ranks = first.opinions.ranks, second.opinions.ranks
        assert np.array_equal(ranks[0][:, 0], ranks[1][:, 0])
        assert not np.array_equal(ranks[0][:, 1], ranks[1][:, 1])
    again = with_shuffled_order(rehearsed(walks(), council=True), seed=3)
    assert np.array_equal(again.train.ages, after.train.ages)


def test_an_audit_asks_in_another_order_and_in_none() -> None:
    """Who walks along a ring goes on where they are: the judge that sees the order finds the hidden next items by it,
    and those of other orders help it to nothing."""
    question = rehearsed(walks(), within=True)
    assert question.rehearsal is not None
    judges = {"reads": CalibratedJudge(reads_order=True), "blind": CalibratedJudge(), "always": AlwaysJudge()}
    scores = audit(judges, question.rehearsal, seed=0).scores
    assert list(scores) == ["reads", "reads, without order", "reads, shuffled order", "blind", "always"]
    assert scores["reads, without order"].auc == pytest.approx(scores["blind"].auc)
    assert scores["reads"].auc > scores["blind"].auc + 0.05
    assert scores["reads"].auc > scores["reads, shuffled order"].auc + 0.05


def test_a_council_with_a_member_that_knows_order_is_asked_without_it() -> None:
    question = rehearsed(walks(), council=True, within=True)
    assert question.rehearsal is not None
    scores = audit({"calibrated": CalibratedJudge()}, question.rehearsal, seed=0).scores
    assert list(scores) == [
        "calibrated",
        "calibrated, without ItemKNN",
        "calibrated, without MarkovChain",
        "calibrated, without order",
        "calibrated, shuffled order",
    ]
    assert scores["calibrated"].auc > scores["calibrated, without order"].auc


def test_no_line_of_the_audit_is_about_order_where_nobody_sees_it() -> None:
    question = rehearsed(walks(), within=True)
    assert question.rehearsal is not None
    assert list(audit({"calibrated": CalibratedJudge()}, question.rehearsal, seed=0).scores) == ["calibrated"]
    timeless = without_order(question).rehearsal
    assert list(audit({"reads": CalibratedJudge(reads_order=True)}, timeless, seed=0).scores) == ["reads"]


def test_reading_order_is_part_of_what_verdicts_are_kept_by() -> None:
    assert CalibratedJudge(reads_order=True).inputs() != CalibratedJudge().inputs()
    assert CalibratedJudge().inputs() == {"judge": "calibrated", "lift": 1.0}
