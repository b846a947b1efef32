"""Several teachers asked together: what is joined, what each member thinks, and who learns from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from block_data import block_interactions

from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.judges.audit import audit
from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.contract import Question, Rehearsal, Verdicts
from recbole_dtlns.judges.controls import RankJudge, without_member
from recbole_dtlns.judges.features import feature_names, pair_features
from recbole_dtlns.preparation import prepare
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.teachers.closed_form import EASE, ItemKNN
from recbole_dtlns.teachers.contract import Candidates, top_candidates
from recbole_dtlns.teachers.council import Council, Opinions, joined
from recbole_dtlns.trees.build import TreeShape, build_tree

DEPTH, K = 12, 4


@pytest.fixture(scope="module")
def train() -> TrainInteractions:
    return block_interactions(blocks=4, users=20, items=24, missing=6)


def lists_of(train: TrainInteractions, depth: int = DEPTH) -> dict[str, Candidates]:
    teachers = {"EASE": EASE(reg=1.0, dimension=8), "ItemKNN": ItemKNN(k=10, dimension=8)}
    return {name: top_candidates(teacher.fit(train), train, depth) for name, teacher in teachers.items()}


@pytest.mark.parametrize("depth", [K, DEPTH])
def test_joined_lists_are_what_a_plain_loop_makes_of_them(train: TrainInteractions, depth: int) -> None:
    """In lists of K items, many that one member names are not in the other's: they count as its last."""
    lists = lists_of(train, depth)
    found, opinions = joined(lists, train, K, depth)
    assert opinions.names == ("EASE", "ItemKNN")
    place = 0
    for user in range(train.n_users):
        ranks = [
            {int(item): int(rank) for item, rank in zip(one.items[mine], one.ranks[mine], strict=True)}
            for one in lists.values()
            for mine in [one.users == user]
        ]
        scores = [one.scores[one.users == user] for one in lists.values()]
        union = {item for member in ranks for item, rank in member.items() if rank < K}
        fused = {item: sum(1 / (61 + member[item]) for member in ranks if item in member) for item in union}
        expected = sorted(union, key=lambda item: (-fused[item], item))
        mine = slice(place, place + len(expected))
        assert found.items[mine].tolist() == expected and set(found.users[mine].tolist()) == {user}
        assert found.ranks[mine].tolist() == list(range(len(expected)))
        np.testing.assert_allclose(found.scores[mine], [fused[item] for item in expected], rtol=1e-6)
        for member in range(2):
            own, best = scores[member], max(scores[member][0], np.finfo(np.float32).tiny)
            for row, item in enumerate(expected):
                rank = ranks[member].get(item, depth)
                assert opinions.ranks[place + row, member] == rank
                strength = np.clip(own[min(rank, len(own) - 1)] / best, -1, 1)
                assert opinions.strengths[place + row, member] == pytest.approx(strength, rel=1e-6)
        place += len(expected)
    assert place == len(found)


def test_a_member_that_finds_nothing_is_left_out(train: TrainInteractions) -> None:
    lists = lists_of(train)
    nothing = Candidates(*(column[:0] for column in vars(lists["EASE"]).values()))
    found, opinions = joined({**lists, "silent": nothing}, train, K, DEPTH)
    expected, _ = joined(lists, train, K, DEPTH)
    assert opinions.names == ("EASE", "ItemKNN") and np.array_equal(found.items, expected.items)
    with pytest.raises(DataError, match="none of the teachers silent found a candidate"):
        joined({"silent": nothing}, train, K, DEPTH)


def test_a_user_whom_one_member_knows_nothing_for_is_judged_by_the_other(train: TrainInteractions) -> None:
    lists = lists_of(train)
    without = lists["ItemKNN"].users != 0
    lists["ItemKNN"] = Candidates(*(column[without] for column in vars(lists["ItemKNN"]).values()))
    found, opinions = joined(lists, train, K, DEPTH)
    first = found.users == 0
    assert first.sum() == K and (opinions.ranks[first, 1] == DEPTH).all() and (opinions.strengths[first, 1] == 0).all()


def test_a_council_is_a_teacher_too(train: TrainInteractions) -> None:
    council = Council({"EASE": EASE(reg=1.0, dimension=8), "ItemKNN": ItemKNN(k=10, dimension=8)}, DEPTH)
    fitted = council.fit(train)
    best = top_candidates(fitted, train, K)
    found, _ = joined(lists_of(train), train, DEPTH, DEPTH)
    kept = found.ranks < K
    assert np.array_equal(best.items, found.items[kept]) and fitted.item_vectors.shape == (train.n_items, 8)
    with pytest.raises(ConfigError, match="names no teacher"):
        Council({}, DEPTH)


def ask(train: TrainInteractions, k: int = K) -> Question:
    found, opinions = joined(lists_of(train), train, k, DEPTH)
    tree, _ = build_tree(EASE(reg=1.0, dimension=8).fit(train).item_vectors, TreeShape(leaf_size=10))
    return Question(train, found, {"semantic": tree}, opinions=opinions)


def rehearsed(train: TrainInteractions, seed: int, k: int = K) -> Rehearsal:
    reduced, hidden = hide_positives(train, 0.2, seed)
    return Rehearsal(ask(reduced, k), hidden, ask(train, k))


def test_features_hold_each_members_opinion(train: TrainInteractions) -> None:
    question = ask(train)
    assert question.opinions is not None
    features, names = pair_features(question), feature_names(question.views, question.opinions.names)
    assert features.shape == (len(question.candidates), len(names))
    by_name = dict(zip(names, features.T, strict=True))
    np.testing.assert_allclose(by_name["ItemKNN_rank"], np.log1p(question.opinions.ranks[:, 1]), rtol=1e-6)
    nearness = 1 / (1 + question.opinions.ranks[:, 0].astype(float))
    np.testing.assert_allclose(by_name["EASE_nearness"], nearness, rtol=1e-6)
    assert np.array_equal(by_name["EASE_strength"], question.opinions.strengths[:, 0])
    some = np.array([0, 5, 17])
    assert np.array_equal(pair_features(question.about(some)), features[some])
    assert pair_features(question.about(some[:0])).shape == (0, len(names))


def test_beside_the_opinions_stands_what_is_known_of_pairs_anyway(train: TrainInteractions) -> None:
    """As it is where one teacher was asked; on histories of several lengths."""
    users, items = train.histories()
    question = ask(train.without((users < 10) & (items % 3 == 0)), k=10)
    alone = replace(question, opinions=None)
    assert question.opinions is not None
    found, expected = (
        dict(zip(names, pair_features(asked).T, strict=True))
        for asked, names in (
            (question, feature_names(question.views, question.opinions.names)),
            (alone, feature_names(question.views)),
        )
    )
    for name in ("semantic_overlap", "popularity", "history_length"):
        assert len(np.unique(expected[name])) > 1
        np.testing.assert_array_equal(found[name], expected[name])


def test_opinions_without_a_member_are_those_of_the_others(train: TrainInteractions) -> None:
    _, opinions = joined(lists_of(train), train, K, DEPTH)
    alone = opinions.without("EASE")
    assert alone.names == ("ItemKNN",) and np.array_equal(alone.ranks[:, 0], opinions.ranks[:, 1])


def test_too_few_hidden_pairs_to_learn_from_leave_the_ranks(
    train: TrainInteractions, caplog: pytest.LogCaptureFixture
) -> None:
    question = ask(train)
    unfindable = replace(rehearsed(train, 1), hidden=np.array([0], dtype=np.int64) - 1)
    verdicts = CalibratedJudge().judge(replace(question, rehearsal=unfindable))
    np.testing.assert_allclose(verdicts.probability, 1 / (2.0 + question.candidates.ranks), rtol=1e-6)
    assert "only 0 of 1 hidden positives are among the candidates, too few to learn from" in caplog.text
    assert CalibratedJudge().remark(verdicts.facts) == "by rank, as only 0 hidden pairs are among the candidates"


@pytest.mark.parametrize("findable", [9, 10])
def test_ten_hidden_pairs_can_be_learnt_from(findable: int, train: TrainInteractions) -> None:
    known = rehearsed(train, 1)
    few = replace(known, hidden=np.intersect1d(known.question.pair_keys(), known.hidden)[:findable])
    verdicts = CalibratedJudge().judge(replace(ask(train), rehearsal=few))
    assert verdicts.facts["hidden_found"] == findable and ("learner" in verdicts.facts) == (findable == 10)
    assert ("by rank" in CalibratedJudge().remark(verdicts.facts)) == (findable < 10)


def test_verdicts_kept_before_the_judge_said_what_it_found_have_no_remark() -> None:
    assert CalibratedJudge().remark({"judge": "calibrated"}) == ""


def test_a_judge_says_what_it_learnt_with(train: TrainInteractions) -> None:
    """And what else it tried, in the summary and in the facts; and on which trees."""
    known = replace(rehearsed(train, 1), trees_not_read=("structure", "semantic"))
    judge = CalibratedJudge(learner="auto")
    facts = judge.judge(replace(ask(train), rehearsal=known)).facts
    tried = facts["ndcg_of_learners"]
    assert list(tried) == ["logistic", *(f"{name} of {n} trees" for n in (50, 150) for name in ("boosted", "mean"))]
    best = f"{facts['learner']} of {facts['learner_trees']} trees" if facts["learner_trees"] else facts["learner"]
    assert tried[best] == max(tried.values())
    learnt, looked = judge.remark(facts).split("; ")
    figures = ", ".join(f"{name} {ndcg:.4f}" for name, ndcg in tried.items())
    assert learnt == f"learnt by {facts['learner']} from {facts['hidden_found']} hidden pairs (NDCG@20: {figures})"
    assert looked.startswith("it looked at trees of its own, not at the given ones (structure and semantic)")


def test_a_judge_learns_from_all_rehearsals(train: TrainInteractions) -> None:
    one, other = rehearsed(train, 1), rehearsed(train, 2)
    question = ask(train)
    found = CalibratedJudge().judge(replace(question, rehearsal=replace(one, more=(other,)))).facts["hidden_found"]
    assert found == int(one.answers().sum() + other.answers().sum()) > 0


def test_an_audit_says_what_each_member_adds(train: TrainInteractions) -> None:
    known = rehearsed(train, 3)
    inner = replace(rehearsed(known.question.train, 4), more=(rehearsed(known.question.train, 5),))
    asked = replace(known, question=replace(known.question, rehearsal=inner))
    found = audit({"calibrated": CalibratedJudge(), "rank": RankJudge()}, asked, 0)
    assert list(found.scores) == ["calibrated", "calibrated, without EASE", "calibrated, without ItemKNN", "rank"]
    left = without_member(asked.question, "EASE")
    assert left.rehearsal is not None and left.opinions is not None
    for question in (left, *(one.question for one in left.rehearsal.all), *(one.actual for one in left.rehearsal.all)):
        assert question.opinions is not None and question.opinions.names == ("ItemKNN",)
    assert len(left.rehearsal.more) == 1 and np.array_equal(left.candidates.items, asked.question.candidates.items)


class Learner(RankJudge):
    """Is asked as a judge that learns, and keeps what it is asked."""

    rehearses = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Question] = []

    def judge(self, question: Question) -> Verdicts:
        self.asked.append(question)
        return super().judge(question)


def test_without_a_member_a_judge_is_asked_without_its_opinions(train: TrainInteractions) -> None:
    """But not without its only one, which would leave none."""
    known, judge = rehearsed(train, 3), Learner()
    audit({"learner": judge}, known, 0)
    names = [question.opinions.names for question in judge.asked if question.opinions is not None]
    assert names == [("EASE", "ItemKNN"), ("ItemKNN",), ("EASE",)]
    alone = replace(known, question=without_member(known.question, "EASE"))
    assert list(audit({"learner": judge}, alone, 0).scores) == ["learner"]


def test_a_question_without_opinions_has_none_to_leave_out(train: TrainInteractions) -> None:
    question = replace(ask(train), opinions=None)
    assert without_member(question, "EASE") == question


def settings(**keys: object) -> dict[str, object]:
    return DTLNSSettings.from_config({f"dtlns_{key}": value for key, value in keys.items()}).flat


def test_members_are_kept_apart_so_another_one_costs_only_itself(train: TrainInteractions, tmp_path: object) -> None:
    flat = settings(
        cache_dir=str(tmp_path),
        teachers=["EASE", "ItemKNN"],
        candidates=K,
        judge="calibrated",
        judge_learner="auto",
        judge_rehearsals=3,
        tree_leaf_size=10,
    )
    members = {"EASE": EASE(), "ItemKNN": ItemKNN()}
    done = prepare(flat, train, Council(members, 200))
    assert not any(one.artefact.reused for one in done.done)
    assert {"teacher EASE", "teacher ItemKNN", "council"} <= {one.stage.name for one in done.done}
    again = prepare(flat, train, Council(members, 200))
    assert all(one.artefact.reused for one in again.done)
    assert np.array_equal(done.verdicts.probability, again.verdicts.probability)
    fewer = prepare(flat, train, Council({"EASE": EASE()}, 200))
    assert {one.stage.name: one.artefact.reused for one in fewer.done}["teacher EASE"]
    assert np.array_equal(np.unique(fewer.candidates.users), np.unique(done.candidates.users))
    assert "candidates of EASE, ItemKNN" in done.summary() and "NDCG@20" in done.summary()


def test_opinions_are_of_the_pairs_asked_for() -> None:
    opinions = Opinions(("a",), np.array([[1], [2], [3]], np.int16), np.array([[0.1], [0.2], [0.3]], np.float32))
    assert opinions.of(np.array([True, False, True])).ranks.ravel().tolist() == [1, 3]
