"""Losses of sequences: a softmax over all items with several targets, and calibrated cross-entropy over draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from recbole_dtlns.data.item_sets import Forbidden, PairSet, PseudoPositives
from recbole_dtlns.losses.contract import SharedLoss
from recbole_dtlns.losses.further_targets import Entries, ItemsOfUsers, softmax_over_all
from recbole_dtlns.losses.gbce import GBCE
from recbole_dtlns.losses.shared_negatives import SharedNegatives
from recbole_dtlns.losses.table import LOSSES


def entries(*listed: tuple[int, int, float]) -> Entries:
    rows, items, weights = zip(*listed, strict=True) if listed else ((), (), ())
    return Entries(
        torch.tensor(rows, dtype=torch.long), torch.tensor(items, dtype=torch.long), torch.tensor(weights).float()
    )


def scores(rows: int = 3, n: int = 7) -> torch.Tensor:
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_items_of_users_are_looked_up_with_their_weights() -> None:
    pairs = PseudoPositives.of(np.array([2, 0, 2]), np.array([5, 4, 1]), weight=np.array([0.5, 2.0, 0.25]))
    found = ItemsOfUsers(pairs, 3).of(torch.tensor([2, 1, 2, 0]))
    listed = list(zip(found.rows.tolist(), found.items.tolist(), found.weight.tolist(), strict=True))
    assert listed == [(0, 1, 0.25), (0, 5, 0.5), (2, 1, 0.25), (2, 5, 0.5), (3, 4, 2.0)]
    assert ItemsOfUsers(Forbidden.of(np.array([1]), np.array([3])), 3).of(torch.tensor([1])).weight.tolist() == [1.0]
    assert len(ItemsOfUsers(PairSet.none(), 3).of(torch.tensor([0, 1, 2])).rows) == 0


def test_without_further_targets_it_is_the_cross_entropy_of_recboles_models() -> None:
    table, targets = scores(), torch.tensor([1, 6, 3])
    expected = nn.CrossEntropyLoss(reduction="none")(table, targets)
    assert torch.allclose(softmax_over_all(table, targets, entries(), entries()), expected)


def test_what_is_left_out_leaves_the_denominator_and_further_targets_count_as_rows() -> None:
    table, targets = scores(), torch.tensor([1, 6, 3])
    further, left_out = entries((0, 2, 0.5), (0, 4, 2.0), (2, 5, 0.1)), entries((0, 4, 1.0), (0, 0, 1.0), (1, 3, 1.0))
    found = softmax_over_all(table, targets, further, left_out)
    wanted = {0: [(1, 1.0), (2, 0.5), (4, 2.0)], 1: [(6, 1.0)], 2: [(3, 1.0), (5, 0.1)]}
    without = {0: {0, 1, 2, 4}, 1: {3, 6}, 2: {3, 5}}
    for row in range(3):
        values = [math.exp(value) for value in table[row].tolist()]
        others = sum(value for item, value in enumerate(values) if item not in without[row])
        expected = sum(weight * math.log(1 + others / values[item]) for item, weight in wanted[row])
        assert float(found[row]) == pytest.approx(expected)


def test_a_row_whose_items_are_all_left_out_is_not_learnt_from_and_nothing_is_nan() -> None:
    table = scores(1, 4).float().requires_grad_()
    loss = softmax_over_all(table, torch.tensor([1]), entries((0, 0, 1.0)), entries((0, 2, 1.0), (0, 3, 1.0)))
    loss.sum().backward()
    assert table.grad is not None and not table.grad.any() and loss.tolist() == [0.0]


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce_is_its_formula(calibration: float) -> None:
    """Three draws of 31 items, one of them twice; uniform draws weigh 1 each, however they were drawn."""
    loss = LOSSES.make("gbce", {"loss_calibration": calibration, "loss_shared": 3})
    assert isinstance(loss, SharedLoss) and loss.draws == 3
    loss.begin(31)
    share = 3 / 30
    exponent = share * (calibration * (1 - 1 / share) + 1 / share)
    log_weights = torch.tensor([[2.0, 1.0]], dtype=torch.float64).mul(30 / 3).log()
    found = loss.rows(torch.tensor([0.4], dtype=torch.float64), torch.tensor([[1.5, -0.3]]).double(), log_weights)
    expected = -exponent * math.log(sigmoid(0.4)) - 2 * math.log(1 - sigmoid(1.5)) - math.log(1 - sigmoid(-0.3))
    assert found.tolist() == pytest.approx([expected / 4])


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_gbce_over_the_whole_catalogue_is_plain_cross_entropy() -> None:
    """Nothing is to be taken back when nothing is left undrawn."""
    loss = GBCE(shared=40, calibration=1.0)
    loss.begin(9)
    against = loss.against(torch.zeros(1, 2), torch.zeros(1, 2))
    assert loss.of(torch.tensor([0.0]), against).tolist() == pytest.approx([3 * math.log(2) / 41])


@pytest.mark.parametrize("name", ["gbce", "sampled_softmax"])
def test_further_targets_of_a_row_share_what_its_negatives_come_to(name: str) -> None:
    loss = LOSSES.make(name, {"loss_shared": 4})
    assert isinstance(loss, SharedLoss)
    loss.begin(20)
    negatives, weights = scores(2, 4), torch.rand(2, 4, dtype=torch.float64).log()
    against = loss.against(negatives, weights)
    positives = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64)
    found = loss.of(positives, against[torch.tensor([0, 1, 1])])
    rows = torch.tensor([0, 1, 1])
    assert torch.allclose(found, loss.rows(positives, negatives[rows], weights[rows]))


def test_own_negatives_stand_beside_those_that_are_shared() -> None:
    """One that counts once is one of weight 1 in a softmax, and one more draw in a cross-entropy."""
    negatives, own = scores(2, 4), scores(2, 1) + 1
    softmax = LOSSES.make("sampled_softmax", {"loss_shared": 4})
    assert isinstance(softmax, SharedLoss)
    nothing = torch.zeros(2, 4, dtype=torch.float64)
    both = torch.cat([negatives, own], dim=1)
    assert torch.allclose(softmax.against(negatives, nothing, own), torch.logsumexp(both, dim=1))
    gbce = GBCE(shared=4)
    gbce.begin(5)  # all of them are drawn
    expected = -(1 - torch.sigmoid(both)).log().sum(dim=1)
    assert torch.allclose(gbce.against(negatives, nothing, own), expected)


def test_a_negative_that_is_left_out_is_not_learnt_from() -> None:
    for name in ("gbce", "sampled_softmax"):
        loss = LOSSES.make(name, {"loss_shared": 3})
        assert isinstance(loss, SharedLoss)
        loss.begin(10)
        negatives = scores(1, 3).requires_grad_()
        weights = torch.tensor([[0.0, -torch.inf, 0.0]], dtype=torch.float64)
        loss.rows(torch.tensor([0.1]).double(), negatives, weights).sum().backward()
        assert negatives.grad is not None and torch.isfinite(negatives.grad).all()
        assert (negatives.grad[0] != 0).tolist() == [True, False, True]


def test_the_expectation_of_what_gbce_sums_does_not_depend_on_the_pool() -> None:
    """Draws by popularity are corrected: in the mean, all items count alike."""
    random, n = np.random.default_rng(0), 12
    skewed = np.append(0, random.random(n - 1) + 0.1)
    table = torch.as_tensor(random.standard_normal(n))
    loss = GBCE(shared=6)
    loss.begin(n - 1)
    sums = []
    for _ in range(4000):
        drawn = SharedNegatives(PairSet.none(), skewed / skewed.sum(), 1).draw(np.array([0]), None, random.random(6))
        weights = torch.as_tensor(drawn.log_weight)[None].double()
        sums.append(float(loss.against(table[torch.as_tensor(drawn.items)][None], weights)))
    expected = 6 / (n - 2) * float(nn.functional.softplus(table[1:]).sum())
    assert np.mean(sums) == pytest.approx(expected, rel=0.05)
