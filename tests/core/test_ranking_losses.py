"""Losses over several negatives, negatives that a batch shares, weights of doubtful ones, and schedules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_dtlns.data.item_sets import JudgedPairs, PairSet
from recbole_dtlns.losses.contract import RowLoss, SharedLoss
from recbole_dtlns.losses.negative_weights import NegativeWeights
from recbole_dtlns.losses.ranking import bpr, cross_entropy, softmax, sum_exp
from recbole_dtlns.losses.shared_negatives import SharedNegatives
from recbole_dtlns.losses.table import LOSSES
from recbole_dtlns.numerics.groups import expanded

SCORE = st.floats(-5, 5)
ROWS = st.lists(st.tuples(SCORE, st.lists(st.tuples(SCORE, st.floats(0, 1)), min_size=3, max_size=3)), min_size=1)


def tensors(rows: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    positive = torch.tensor([s for s, _ in rows], dtype=torch.float64)
    negatives = torch.tensor([[s for s, _ in row] for _, row in rows], dtype=torch.float64)
    weights = torch.tensor([[v for _, v in row] for _, row in rows], dtype=torch.float64)
    return positive, negatives, weights


@given(ROWS)
def test_losses_are_their_formulas(rows: Any) -> None:
    positive, negatives, weights = tensors(rows)
    found = (
        bpr(positive, negatives, weights),
        sum_exp(positive, negatives, weights),
        softmax(positive, negatives, weights, temperature=0.5),
    )
    for place, (s_p, row) in enumerate(rows):
        expected = (
            sum(v * math.log1p(math.exp(s - s_p)) for s, v in row) / 3,
            math.log(1 + sum(v * math.exp(s - s_p) for s, v in row)),
            math.log(1 + sum(v * math.exp((s - s_p) / 0.5) for s, v in row)),
        )
        assert [float(loss[place]) for loss in found] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bpr", lambda s_p, rest: sum(v * math.log1p(math.exp(s - s_p)) for s, v in rest) / len(rest)),
        ("sum_exp", lambda s_p, rest: math.log(1 + sum(v * math.exp(s - s_p) for s, v in rest))),
        ("softmax", lambda s_p, rest: math.log(1 + sum(v * math.exp((s - s_p) / 0.25) for s, v in rest))),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_by_their_names(name: str, expected: Any, weighted: bool) -> None:
    """The temperature is for `softmax` alone; without weights every negative has one."""
    rows = [(0.5, [(1.0, 0.2), (-1.0, 0.9)]), (-0.2, [(0.3, 1.0), (0.1, 0.5)])]
    positive, negatives, weights = tensors(rows)
    loss = LOSSES.make(name, {"loss_temperature": 0.25})
    assert isinstance(loss, RowLoss)
    found = loss.rows(positive, negatives, weights if weighted else None)
    plain = [(s_p, [(s, v if weighted else 1.0) for s, v in rest]) for s_p, rest in rows]
    assert found.tolist() == pytest.approx([expected(s_p, rest) for s_p, rest in plain])


def test_cross_entropy_takes_logarithms_of_weights_and_no_temperature_unless_told() -> None:
    positive, negatives = torch.tensor([1.0]), torch.tensor([[2.0, 0.0, 5.0]])
    found = cross_entropy(positive, negatives, torch.tensor([[0.5, 2.0, 0.0]]).log())
    assert found.tolist() == pytest.approx([math.log(1 + 0.5 * math.exp(1) + 2 * math.exp(-1))])


@given(ROWS)
def test_losses_that_are_one(rows: Any) -> None:
    """A softmax at temperature 1 is sum_exp, and with one negative both are bpr; weights of one are none."""
    positive, negatives, _ = tensors(rows)
    assert torch.allclose(softmax(positive, negatives), sum_exp(positive, negatives))
    assert torch.allclose(sum_exp(positive, negatives[:, :1]), bpr(positive, negatives[:, :1]))
    for loss in (bpr, sum_exp, softmax):
        assert torch.allclose(loss(positive, negatives, torch.ones_like(negatives)), loss(positive, negatives))


@pytest.mark.parametrize("loss", [bpr, sum_exp, softmax])
def test_a_weight_of_zero_leaves_a_negative_out(loss: Any) -> None:
    """Its gradient is zero, and where all are left out, so is every gradient: nothing is NaN."""
    positive = torch.tensor([0.5, 0.5], requires_grad=True)
    negatives = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    weights = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    values = loss(positive, negatives, weights)
    values.sum().backward()
    assert negatives.grad is not None and positive.grad is not None
    assert negatives.grad[0, 0] > 0 and (negatives.grad.flatten()[1:] == 0).all()
    assert positive.grad[1] == 0 and values[1] == 0
    if loss is not bpr:
        assert torch.allclose(values[0], loss(positive[:1], negatives[:1, :1])[0])


@pytest.mark.parametrize("loss", [bpr, sum_exp, softmax])
def test_large_scores_do_not_overflow(loss: Any) -> None:
    value = loss(torch.tensor([0.0]), torch.tensor([[1000.0, -1000.0]]))
    assert value == pytest.approx(500.0 if loss is bpr else 1000.0)


@pytest.mark.parametrize(("score", "temperature"), [(2e4, 1.0), (150.0, 0.01)])
def test_a_negative_without_weight_is_left_out_whatever_its_score(score: float, temperature: float) -> None:
    """Also where it scores far above the positive."""
    assert softmax(torch.zeros(1), torch.tensor([[score]]), torch.zeros(1, 1), temperature).tolist() == [0.0]


@pytest.mark.parametrize("skewed", [False, True], ids=["uniform", "skewed"])
def test_shared_negatives_estimate_the_sum_over_all_unblocked_items(skewed: bool) -> None:
    """The mean over many draws, for users with few and with many blocked items; the positive is never among them."""
    random = np.random.default_rng(0)
    n_items = 20
    probability = random.random(n_items) if skewed else np.ones(n_items)
    probability[0] = 0
    probability /= probability.sum()
    blocked = [{1}, set(range(3, 17))]
    pairs = PairSet.of(np.repeat([0, 1], [1, 14]), np.array([*blocked[0], *blocked[1]]))
    positives = np.array([1, 3])
    scores = random.standard_normal(n_items)
    shared = SharedNegatives(pairs, probability, 2)
    estimates = []
    for _ in range(4000):
        drawn = shared.draw(np.array([0, 1]), positives, random.random(12))
        assert len(set(drawn.items.tolist())) == len(drawn.items) and 0 not in drawn.items
        weights = np.tile(np.exp(drawn.log_weight.astype(np.float64) + scores[drawn.items]), (2, 1))
        weights[drawn.rows, drawn.columns] = 0
        left_out = {(row, int(drawn.items[column])) for row, column in zip(drawn.rows, drawn.columns, strict=True)}
        assert left_out == {(row, item) for row in (0, 1) for item in drawn.items.tolist() if item in blocked[row]}
        estimates.append(weights.sum(axis=1))
    for row in (0, 1):
        exact = sum(math.exp(scores[item]) for item in range(1, n_items) if item not in blocked[row])
        assert np.mean(estimates, axis=0)[row] == pytest.approx(exact, rel=0.05)


def test_a_softmax_over_shared_negatives_is_its_formula() -> None:
    """Weights come as logarithms, beside the temperature; -inf leaves a negative out."""
    loss = LOSSES.make("sampled_softmax", {"loss_temperature": 0.25, "loss_shared": 3})
    assert isinstance(loss, SharedLoss) and loss.draws == 3
    rows = [(0.5, [(1.0, 2.0), (-1.0, 0.5), (0.2, 0.0)]), (-0.2, [(0.3, 3.0), (0.1, 1.0), (0.4, 0.25)])]
    positive, negatives, weights = tensors(rows)
    expected = [math.log(1 + sum(v * math.exp((s - s_p) / 0.25) for s, v in rest)) for s_p, rest in rows]
    assert loss.rows(positive, negatives, weights.log()).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2.0**-53])
def test_only_items_of_some_probability_are_drawn(uniform: float) -> None:
    """At both ends of [0, 1) too: neither the padding, nor items that a distribution leaves out."""
    shared = SharedNegatives(PairSet.of(np.array([0]), np.array([1])), np.array([0, 0, 0.5, 0, 0.5, 0]), 1)
    drawn = shared.draw(np.array([0]), np.array([2]), np.array([uniform]))
    assert drawn.items.tolist() == [2 if uniform < 0.5 else 4]
    assert drawn.log_weight.tolist() == [pytest.approx(math.log(1 / 0.5))] and drawn.log_weight.dtype == np.float32


def test_probabilities_that_do_not_quite_add_up_to_one_are_drawn_from_all_the_same() -> None:
    """Ten tenths, added up, are less than 1 by rounding; the largest number is still the last item's."""
    probability = np.append([0.0] + [0.1] * 10, 0.0)
    assert probability.cumsum()[-1] < 1
    shared = SharedNegatives(PairSet.of(np.array([0]), np.array([1])), probability, 1)
    drawn = shared.draw(np.array([0]), None, np.array([0.0, 1 - 2.0**-53]))
    assert drawn.items.tolist() == [1, 10] and np.isfinite(drawn.log_weight).all()


def test_a_rows_own_positive_is_no_negative_though_nothing_blocks_it() -> None:
    """It is left out for that row alone."""
    shared = SharedNegatives(PairSet.of(np.array([0]), np.array([3])), np.array([0, 0.25, 0.25, 0.25, 0.25]), 2)
    drawn = shared.draw(np.array([0, 1, 1]), np.array([1, 2, 4]), np.array([0.1, 0.3, 0.6, 0.9]))
    left_out = {(row, int(drawn.items[column])) for row, column in zip(drawn.rows, drawn.columns, strict=True)}
    assert left_out == {(0, 1), (0, 3), (1, 2), (2, 4)}


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6), st.data())
def test_expanded_lists(lists: list[list[int]], data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.integers(0, len(lists) - 1)))
    values = np.array([value for entries in lists for value in entries], np.int64)
    start = np.cumsum([0, *map(len, lists)])
    rows, places = expanded(start, np.array(keys, np.int64))
    expected = [(row, value) for row, key in enumerate(keys) for value in lists[key]]
    assert list(zip(rows.tolist(), values[places].tolist(), strict=True)) == expected


@given(st.dictionaries(st.tuples(st.integers(0, 5), st.integers(1, 8)), st.floats(0, 1, width=32)))
def test_weights_of_doubtful_negatives(probability: dict[tuple[int, int], float]) -> None:
    """1 minus the probability of judged pairs, 1 for all others."""
    columns = np.array(list(probability), np.int64).reshape(-1, 2)
    judged = JudgedPairs.of(columns[:, 0], columns[:, 1], np.array(list(probability.values()), np.float32))
    found = NegativeWeights(judged, 9, "cpu").of(torch.arange(6)[:, None], torch.arange(1, 9)[None])
    expected = [[1 - probability.get((user, item), 0.0) for item in range(1, 9)] for user in range(6)]
    assert torch.allclose(found, torch.tensor(expected)) and found.dtype == torch.float32
    ids = torch.ones(2, dtype=torch.long, device="meta")
    assert NegativeWeights(judged, 9, "meta").of(ids, ids).device == ids.device, "they are where they are asked for"
