"""The audit's figures on answers whose worth is worked out by hand, and the seed that decides what is hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from block_data import block_interactions
from test_hidden_positives import ask, rehearsal

from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import DataError
from recbole_dtlns.judges.audit import JudgeScore, audit, equal_bins
from recbole_dtlns.judges.contract import Judge, Label, Question, Rehearsal, Verdicts
from recbole_dtlns.judges.controls import AlwaysJudge, NeverJudge, RandomJudge, with_random_paths, with_shuffled_paths
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.trees.item_tree import ItemTree

NO, YES, ABSTAIN = Label.NEGATIVE, Label.POSITIVE, Label.ABSTAIN
Answers = Sequence[tuple[Label, float]]

# Three users with four of six items each: a quarter hidden is one pair of each, and all other pairs are candidates.
TOKENS = [(f"u{user}", f"i{(user + item) % 6}") for user in range(3) for item in range(4)]
TRAIN = TrainInteractions.from_tokens(*np.array(TOKENS).T)
SAID = (ABSTAIN, np.nan)


def unobserved(train: TrainInteractions) -> Question:
    """The question about every pair that is not observed."""
    users, items = (column.astype(np.int32) for column in np.nonzero(train.matrix.toarray() == 0))
    tree = ItemTree.from_paths(["0"] * train.n_items)
    candidates = Candidates(users, items, np.zeros_like(users), np.zeros(len(users), np.float32))
    return Question(train, candidates, {"structure": tree, "semantic": tree})


def hidden_from_all() -> Rehearsal:
    """A quarter of every user's pairs is hidden: one each."""
    reduced, hidden = hide_positives(TRAIN, 0.25, 0)
    return Rehearsal(unobserved(reduced), hidden, unobserved(TRAIN))


class Scripted(Judge):
    """Answers the hidden pairs from one list and the others from another, in the order of the candidates."""

    version = 1

    def __init__(self, hidden: Answers, others: Answers) -> None:
        super().__init__()
        self.hidden, self.others = hidden, others

    def inputs(self) -> dict[str, str]:
        return {"judge": "scripted"}

    def judge(self, question: Question) -> Verdicts:
        observed = TRAIN.matrix.toarray()[question.candidates.users, question.candidates.items] > 0
        lists = {True: iter(self.hidden), False: iter(self.others)}
        label, probability = zip(*(next(lists[bool(truth)]) for truth in observed), strict=True)
        assert not [*lists[True], *lists[False]], "every answer was asked for"
        return Verdicts(np.array(probability, np.float32), np.array(label, np.int8))


def score(hidden: Answers, others: Answers) -> JudgeScore:
    return audit({"scripted": Scripted(hidden, others)}, hidden_from_all(), seed=0).scores["scripted"]


def test_every_figure_of_a_judge_that_abstains_from_some() -> None:
    """Of three hidden pairs one is found, one missed, one not answered; three pairs of nine are called positive."""
    found = score([(YES, 0.9), (NO, 0.3), SAID], [(YES, 0.8), (NO, 0.1), SAID, (YES, 0.6), (NO, 0.2), (NO, 0.05)])
    assert found.positive_rate == pytest.approx(3 / 9)
    assert (found.precision, found.recall) == pytest.approx((1 / 3, 1 / 3))
    assert found.auc == pytest.approx(8 / 10)  # .9 is above all five others, .3 above three
    assert found.abstained == 2
    assert found.calibration_error == pytest.approx((0.05 + 0.1 + 0.2 + (1 - 0.3) + 0.6 + 0.8 + (1 - 0.9)) / 7)
    expected = [(0.05, 0), (0.1, 0), (0.2, 0), (0.3, 1), (0.6, 0), (0.8, 0), (0.9, 1)]
    assert found.reliability == [pytest.approx(point) for point in expected]


def test_the_calibration_error_weighs_bins_by_their_pairs() -> None:
    """Six pairs given .25 of which none is hidden, three given 1 of which all are."""
    found = score([(YES, 1.0)] * 3, [(NO, 0.25)] * 6)
    assert found.calibration_error == pytest.approx(6 / 9 * 0.25)
    assert found.reliability == [(0.25, 0.0), (1.0, 1.0)]


@pytest.mark.parametrize(
    ("hidden", "others"),
    [([(YES, 0.9)] * 3, [SAID] * 6), ([SAID] * 3, [(NO, 0.1)] * 6), ([SAID] * 3, [SAID] * 6)],
    ids=["hidden pairs alone", "other pairs alone", "no pair"],
)
def test_a_judge_that_answers_one_kind_alone_has_ranked_nothing(hidden: Answers, others: Answers) -> None:
    assert score(hidden, others).auc == 0.5


def test_a_judge_that_answers_nothing_finds_nothing() -> None:
    found = score([SAID] * 3, [SAID] * 6)
    assert (found.positive_rate, found.precision, found.recall, found.calibration_error) == (0, 0, 0, 0)
    assert (found.abstained, found.reliability) == (9, [])


def test_one_answer_is_a_bin_of_its_own() -> None:
    found = score([(YES, 0.75), SAID, SAID], [SAID] * 6)
    assert found.calibration_error == pytest.approx(0.25)
    assert found.reliability == [(0.75, 1.0)]


@pytest.mark.parametrize("n", [10, 20, 25, 99])
def test_bins_are_ten_of_nearly_equal_size(n: int) -> None:
    random = np.random.default_rng(n)
    probability, truth = random.permutation(np.arange(n)) / n, random.random(n) < 0.5
    bins = equal_bins(probability, truth)
    sizes = [size for *_, size in bins]
    assert len(bins) == 10 and sum(sizes) == n and max(sizes) - min(sizes) <= 1
    order = np.argsort(probability)
    for part, (stated, found, size) in zip(np.split(order, np.cumsum(sizes)[:-1]), bins, strict=True):
        assert (stated, found) == pytest.approx((probability[part].mean(), truth[part].mean())) and size == len(part)


def test_equal_probabilities_share_a_bin() -> None:
    probability = np.array([0.2] * 5 + [0.9] * 10 + [0.1] * 5)
    truth = np.array([True, False, False, False, False] + [True] * 8 + [False] * 7)
    assert equal_bins(probability, truth) == [
        (pytest.approx(0.1), 0.0, 5),
        (pytest.approx(0.2), pytest.approx(0.2), 5),
        (pytest.approx(0.9), pytest.approx(0.8), 10),
    ]
    assert equal_bins(np.array([]), np.array([], dtype=bool)) == []


@pytest.fixture(scope="module")
def question() -> Question:
    return ask(block_interactions(blocks=4, users=20, items=24, missing=6))


class Spy(AlwaysJudge):
    """Keeps the questions it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Question] = []

    def judge(self, question: Question) -> Verdicts:
        self.asked.append(question)
        return super().judge(question)


@pytest.mark.parametrize("seed", [5, 6])
def test_the_seed_decides_what_is_hidden_and_how_the_controls_are_dealt(seed: int, question: Question) -> None:
    """Exactly the pairs that the same seed hides elsewhere, and the trees that it shuffles and draws."""
    reduced, hidden = hide_positives(question.train, 0.2, seed)
    spy = Spy()
    found = audit({"spy": spy}, rehearsal(question.train, 0.2, seed), seed=seed, controls=["spy"])
    true, shuffled, drawn = spy.asked
    assert true.train.fingerprint == shuffled.train.fingerprint == drawn.train.fingerprint == reduced.fingerprint
    assert found.hidden == len(hidden)
    for control, seen in ((with_shuffled_paths(true, seed), shuffled), (with_random_paths(true, seed), drawn)):
        assert control.structure.paths == seen.structure.paths
        assert control.semantic.paths == seen.semantic.paths


def test_all_judges_are_asked_about_the_same_pairs(question: Question) -> None:
    spies = {"first": Spy(), "second": Spy()}
    found = audit(spies, rehearsal(question.train, 0.2, 3), seed=3)
    first, second = (spy.asked[0] for spy in spies.values())
    assert first is second
    assert found.candidates == len(first.candidates)
    _, hidden = hide_positives(question.train, 0.2, 3)
    assert found.reachable == np.isin(first.pair_keys(), hidden).sum()


def test_agreement_is_the_share_of_equal_labels() -> None:
    half = Scripted([(YES, 0.9)] * 3, [(YES, 0.9)] * 1 + [(NO, 0.1)] * 4 + [SAID])
    judges = {"half": half, "always": AlwaysJudge(), "never": NeverJudge()}
    agreement = audit(judges, hidden_from_all(), seed=0).agreement
    assert agreement["half"] == {"half": 1.0, "always": pytest.approx(4 / 9), "never": pytest.approx(4 / 9)}
    assert agreement["always"]["half"] == pytest.approx(4 / 9)


def test_the_table_is_a_head_and_a_line_for_every_judge() -> None:
    """And the head says where judges were asked about other trees than the run's."""
    judges = {"always": AlwaysJudge(), "never": NeverJudge()}
    plain = audit(judges, hidden_from_all(), seed=0)
    head, columns, *lines = plain.table().splitlines()
    assert head == "3 train positives hidden, 3 of them among 9 candidates (base rate 33.33%)"
    assert columns.split() == ["judge", "positive", "precision", "recall", "AUC", "ECE", "abstained"]
    assert [line.split() for line in lines] == [
        ["always", "100.0%", "33.33%", "100.0%", "0.500", "0.667", "0"],
        ["never", "0.0%", "0.00%", "0.0%", "0.500", "0.333", "0"],
    ]
    assert plain.trees_not_read == () and plain.remark() == ""
    told = audit(judges, replace(hidden_from_all(), trees_not_read=("structure", "semantic")), seed=0)
    assert told.trees_not_read == ("structure", "semantic")
    assert "(structure and semantic)" in told.remark()
    assert told.table().splitlines() == [head, told.remark(), columns, *lines]


def test_an_audit_that_can_find_nothing_is_refused() -> None:
    """Where the candidates hold no hidden pair, no figure says anything."""
    blind = replace(hidden_from_all(), question=unobserved(TRAIN))  # the hidden pairs are still observed here
    with pytest.raises(DataError, match="none of 3 hidden positives is among the candidates"):
        audit({"random": RandomJudge(rate=0.5, seed=0)}, blind, seed=0)
