"""Judges that learn from, or are scored on, train positives hidden on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from block_data import block_interactions

from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.judges import calibrated
from recbole_dtlns.judges.audit import audit
from recbole_dtlns.judges.calibrated import CalibratedJudge, examples_of
from recbole_dtlns.judges.contract import Judge, Label, Question, Rehearsal, Verdicts
from recbole_dtlns.judges.controls import AlwaysJudge, NeverJudge, RandomJudge, RankJudge
from recbole_dtlns.judges.features import feature_names, pair_features
from recbole_dtlns.teachers.closed_form import EASE
from recbole_dtlns.teachers.contract import Candidates, top_candidates
from recbole_dtlns.teachers.spectral import spectral_scores
from recbole_dtlns.trees.build import TreeShape, build_tree
from recbole_dtlns.trees.item_tree import ItemTree
from recbole_dtlns.trees.structure import item_graph, structure_vectors


def ask(train: TrainInteractions) -> Question:
    """Teacher, candidates and trees of some train pairs."""
    fitted = EASE(reg=1.0, dimension=8).fit(train)
    shape = TreeShape(leaf_size=10)
    structure, _ = build_tree(structure_vectors(train, 8), shape)
    semantic, _ = build_tree(fitted.item_vectors, shape)
    return Question(train, top_candidates(fitted, train, 16), {"structure": structure, "semantic": semantic})


def rehearsal(train: TrainInteractions, share: float, seed: int, within: tuple[float, int] | None = None) -> Rehearsal:
    """The question about these train pairs without some, with a rehearsal of the same kind within, if one is asked."""
    reduced, hidden = hide_positives(train, share, seed)
    known = ask(reduced)
    if within is not None:
        known = replace(known, rehearsal=rehearsal(reduced, *within))
    return Rehearsal(known, hidden, ask(train))


def rehearsed(question: Question, share: float, seed: int) -> Question:
    """A question that judges can learn from hidden positives for."""
    return replace(question, rehearsal=rehearsal(question.train, share, seed))


@pytest.fixture(scope="module")
def question() -> Question:
    return ask(block_interactions(blocks=4, users=20, items=24, missing=6))


def pairs(train: TrainInteractions) -> set[tuple[int, int]]:
    users, items = train.histories()
    return set(zip(users.tolist(), items.tolist(), strict=True))


def test_hiding_parts_the_pairs_and_leaves_ids_and_every_user(question: Question) -> None:
    train = question.train
    reduced, hidden = hide_positives(train, 0.25, seed=3)
    hidden_pairs = {(int(key) // train.n_items, int(key) % train.n_items) for key in hidden}
    assert hidden_pairs.isdisjoint(pairs(reduced))
    assert hidden_pairs | pairs(reduced) == pairs(train)
    assert len(hidden) == pytest.approx(0.25 * train.matrix.nnz, rel=0.1)
    assert (np.diff(reduced.matrix.indptr) > 0).all()
    assert reduced.item_tokens is train.item_tokens and reduced.fingerprint != train.fingerprint
    assert np.array_equal(hidden, hide_positives(train, 0.25, seed=3)[1])
    assert not np.array_equal(hidden, hide_positives(train, 0.25, seed=4)[1])


@pytest.mark.parametrize("seed", range(3))
def test_every_user_keeps_one_pair_and_no_more_where_nearly_all_are_hidden(seed: int) -> None:
    train = block_interactions(blocks=2, users=5, items=8, missing=3)
    reduced, hidden = hide_positives(train, 0.999, seed)
    assert np.diff(reduced.matrix.indptr).tolist() == [1] * train.n_users
    assert len(hidden) == train.matrix.nnz - train.n_users
    assert (np.diff(hidden) > 0).all(), "sorted, and none twice"


@pytest.mark.parametrize("last", [False, True])
def test_what_is_hidden_does_not_depend_on_how_many_pairs_are_looked_at_at_once(
    last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, items = block_interactions(blocks=4, users=20, items=24, missing=6).histories()
    times = np.random.default_rng(0).permutation(len(users)).astype(float)
    train = TrainInteractions.from_tokens(users.astype(str), items.astype(str), times)
    left, hidden = hide_positives(train, 0.3, seed=5, last=last)
    monkeypatch.setattr("recbole_dtlns.data.hiding._PAIRS_AT_ONCE", 40)
    again, hidden_again = hide_positives(train, 0.3, seed=5, last=last)
    assert np.array_equal(hidden, hidden_again) and left.fingerprint == again.fingerprint
    assert np.array_equal(np.union1d(left.pair_keys, hidden), train.pair_keys)


def test_answers_are_the_same_however_many_pairs_are_looked_at_at_once(
    question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = question.train
    hidden = question.pair_keys()[::3]
    of_some = Rehearsal(question, np.sort(hidden), question)
    monkeypatch.setattr("recbole_dtlns.judges.contract._PAIRS_AT_ONCE", 7)
    assert of_some.answers().tolist() == [place % 3 == 0 for place in range(len(question.candidates))]
    nothing = Rehearsal(question, train.pair_keys[:0], question)
    assert not nothing.answers().any()


def test_users_with_one_pair_have_nothing_to_hide() -> None:
    lonely = TrainInteractions.from_tokens(np.array(["a", "b"]), np.array(["x", "y"]))
    with pytest.raises(DataError, match="every user has only one"):
        hide_positives(lonely, 0.5, seed=0)


def timed(*rows: tuple[str, str, float]) -> TrainInteractions:
    """Users, items and times."""
    users, items, times = zip(*rows, strict=True)
    return TrainInteractions.from_tokens(np.array(users), np.array(items), np.array(times))


@pytest.mark.parametrize("seed", range(5))
def test_the_last_pairs_by_time_are_hidden_where_they_are_asked_for(seed: int) -> None:
    """Half of each user's: the latest, whatever their items; those without a time count as the earliest."""
    never = -np.inf
    train = timed(
        *[("a", "i0", 9), ("a", "i1", 7), ("a", "i2", 1), ("a", "i3", 8)],
        *[("b", "i0", 1), ("b", "i1", never), ("b", "i2", never), ("b", "i3", 0)],
    )
    reduced, hidden = hide_positives(train, 0.5, seed, last=True)
    assert hidden.tolist() == [0, 3, 4, 7]  # user * 4 + item
    assert reduced.times is not None and reduced.times.tolist() == [7, 1, never, never]


def test_any_pairs_are_hidden_where_time_does_not_matter() -> None:
    """Over seeds each of four pairs is: without the wish for the last ones times change nothing."""
    falling = timed(*(("a", f"i{item}", 9.0 - item) for item in range(4)))
    assert {int(key) for seed in range(40) for key in hide_positives(falling, 0.25, seed)[1]} == {0, 1, 2, 3}
    assert hide_positives(falling, 0.25, 0)[1] == hide_positives(replace(falling, times=None), 0.25, 0)[1]


@pytest.mark.parametrize("seed", range(5))
def test_of_one_time_the_last_row_is_the_last_pair(seed: int) -> None:
    """As in RecBole's sequences, which are sorted by time and otherwise left as the file has them."""
    alike = timed(*(("a", f"i{item}", 5.0) for item in (3, 0, 2, 1)))
    assert hide_positives(alike, 0.5, seed, last=True)[1].tolist() == [1, 2]


def test_the_last_pairs_of_data_without_times_are_refused() -> None:
    with pytest.raises(DataError, match="the data hold no times"):
        hide_positives(block_interactions(), 0.5, seed=0, last=True)


def test_features_are_what_their_names_say(question: Question) -> None:
    features = dict(zip(feature_names(question.views), pair_features(question).T, strict=True))
    train, candidates = question.train, question.candidates
    graph = item_graph(train).toarray()
    counts = np.log1p(train.matrix.sum(axis=0))
    spectral = spectral_scores(train, candidates.users, candidates.items)
    for row in np.random.default_rng(0).integers(0, len(candidates), 25):
        user, item = candidates.users[row], candidates.items[row]
        history = train.matrix[[user]].indices
        assert features["co_occurrence"][row] == pytest.approx(graph[history, item].sum() / len(history), rel=1e-4)
        assert features["popularity"][row] == pytest.approx(counts[item] - counts.mean(), abs=1e-5)
        assert features["history_length"][row] == pytest.approx(0, abs=1e-5)  # all users have equally many
        rivals = np.flatnonzero(candidates.users == user)
        for name, score in (("co_occurrence_rank", features["co_occurrence"]), ("spectral_rank", spectral)):
            before = (score[rivals] > score[row]) | ((score[rivals] == score[row]) & (rivals < row))
            assert features[name][row] == pytest.approx(np.log1p(before.sum()))
        overlap = question.structure.similarity(np.full(len(history), item), history).max()
        assert features["structure_overlap"][row] == pytest.approx(overlap)
    assert features["score_gap"][candidates.ranks == 0] == pytest.approx(0)
    assert np.isfinite(np.stack(list(features.values()))).all()


def test_features_of_histories_of_any_length() -> None:
    """Of users with one item and with many, in plain Python; the score's gap is that to the user's own best."""
    train = TrainInteractions.from_tokens(*np.array([*zip("aabbbbc", "xyxyzwx", strict=True), ("d", "v")]).T)
    asked = ask_all(train)
    found = dict(zip(feature_names(asked.views), pair_features(asked).T, strict=True))
    graph, histories = item_graph(train).toarray(), [set(train.matrix[[user]].indices) for user in range(4)]
    bought = np.log1p([sum(item in history for history in histories) for item in range(train.n_items)])
    lengths = np.log1p([len(history) for history in histories])
    columns = (asked.candidates.users, asked.candidates.items, asked.candidates.ranks, asked.candidates.scores)
    best = {0: 3.5, 1: -1.0, 2: 0.25, 3: 9.0}
    for row, (user, item, rank, score) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        history = sorted(histories[user])
        assert found["co_occurrence"][row] == pytest.approx(graph[history, item].sum() / len(history))
        assert found["history_length"][row] == pytest.approx(lengths[user] - lengths.mean(), rel=1e-5)
        assert found["popularity"][row] == pytest.approx(bought[item] - bought.mean(), rel=1e-5)
        assert found["score"][row] == score and found["score_gap"][row] == best[user] - score == rank / 2
        assert found["rank"][row] == pytest.approx(np.log1p(rank))
    assert pair_features(asked).dtype == np.float32


def ask_all(train: TrainInteractions) -> Question:
    """Every unobserved pair; the score falls by a half with every rank, from another best for every user."""
    users, items = np.nonzero(train.matrix.toarray() == 0)
    ranks = np.arange(len(users)) - np.searchsorted(users, users)
    scores = np.array([3.5, -1.0, 0.25, 9.0])[users] - ranks / 2
    tree = ItemTree.from_paths(["0-0", "0-1", "1", "1", ""])
    columns = (column.astype(np.int32) for column in (users, items, ranks))
    return Question(train, Candidates(*columns, scores.astype(np.float32)), {"structure": tree, "semantic": tree})


def test_calibrated_judge_finds_the_missing_items_of_the_own_block(question: Question) -> None:
    verdicts = CalibratedJudge(lift=0.3).judge(rehearsed(question, 0.2, seed=1))
    own_block = np.array(
        [
            user[1] == item[1]
            for user, item in zip(
                question.train.user_tokens[question.candidates.users],
                question.train.item_tokens[question.candidates.items],
                strict=True,
            )
        ]
    )
    assert own_block.any() and not own_block.all()
    positive = verdicts.label == Label.POSITIVE
    assert not positive[~own_block].any()
    assert positive[own_block].mean() > 0.9
    assert verdicts.probability[own_block].mean() > 10 * verdicts.probability[~own_block].mean()


class Oracle(Judge):
    """Knows the hidden pairs: it stands for the best judge there can be."""

    version = 1

    def __init__(self, train: TrainInteractions) -> None:
        super().__init__()
        self.train = train

    def inputs(self) -> dict[str, str]:
        return {"judge": "oracle"}

    def judge(self, question: Question) -> Verdicts:
        users, items = self.train.histories()
        known = np.isin(question.pair_keys(), users * self.train.n_items + items)
        return Verdicts(known.astype(np.float32), known.astype(np.int8))


def test_audit_scores_judges_whose_worth_is_known(question: Question) -> None:
    judges = {
        "oracle": Oracle(question.train),
        "always": AlwaysJudge(),
        "never": NeverJudge(),
        "random": RandomJudge(rate=0.5, seed=0),
        "rank": RankJudge(first=5),
        "calibrated": CalibratedJudge(lift=1.0),
    }
    result = audit(judges, rehearsal(question.train, 0.2, seed=5, within=(0.2, 7)), seed=5)
    base_rate = result.reachable / result.candidates
    oracle, always, never = (result.scores[name] for name in ("oracle", "always", "never"))
    assert (oracle.precision, oracle.recall, oracle.auc, oracle.calibration_error) == (1, 1, 1, 0)
    assert (always.positive_rate, always.recall, always.auc) == (1, 1, 0.5)
    assert always.precision == pytest.approx(base_rate)
    assert always.calibration_error == pytest.approx(1 - base_rate)
    assert (never.positive_rate, never.precision, never.recall) == (0, 0, 0)
    assert never.calibration_error == pytest.approx(base_rate)
    assert result.scores["calibrated"].auc > 0.5
    assert result.scores["calibrated"].calibration_error < 0.2 < always.calibration_error
    assert result.agreement["always"]["never"] == 0 and result.agreement["rank"]["rank"] == 1
    assert result.agreement["oracle"]["always"] == pytest.approx(base_rate)
    assert all(name in result.table() for name in judges)


def test_audit_is_given_only_what_is_left_of_the_train_pairs(question: Question) -> None:
    asked = []

    class Spy(AlwaysJudge):
        def judge(self, question: Question) -> Verdicts:
            asked.append(question.train)
            return super().judge(question)

    result = audit({"always": Spy()}, rehearsal(question.train, 0.2, seed=5), seed=5)
    assert asked[0].matrix.nnz == question.train.matrix.nnz - result.hidden


@pytest.mark.parametrize("learn", [CalibratedJudge().judge, lambda question: audit({}, question.rehearsal, 0)])
def test_a_question_that_cannot_be_asked_anew_is_refused(
    question: Question, learn: Callable[[Question], object]
) -> None:
    with pytest.raises(ConfigError, match="checkpoint"):
        learn(question)


def test_of_many_examples_those_of_some_whole_users_are_learnt_from(
    question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = rehearsal(question.train, 0.25, seed=3)
    everything = examples_of(known, seed=1)
    monkeypatch.setattr(calibrated, "_MOST_EXAMPLES", len(everything.answers) // 3)
    some = examples_of(known, seed=1)
    users = np.unique(some.users)
    assert len(users) == pytest.approx(known.question.train.n_users / 3, rel=0.4)
    whole = everything.of(np.isin(everything.users, users))
    assert np.array_equal(some.users, whole.users) and np.array_equal(some.answers, whole.answers)
    assert np.array_equal(some.features, whole.features)
    assert np.array_equal(examples_of(known, seed=1).users, some.users)
    assert not np.array_equal(np.unique(examples_of(known, seed=2).users), users)


def test_as_many_examples_as_may_be_are_all_learnt_from(question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    known = rehearsal(question.train, 0.25, seed=3)
    monkeypatch.setattr(calibrated, "_MOST_EXAMPLES", len(known.question.candidates))
    assert len(examples_of(known, seed=1).answers) == len(known.question.candidates)
