"""Built-in losses pass the checks that are given to authors of others, and each check finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from recbole_dtlns.conformance import LIST_LOSS_CHECKS, ROW_LOSS_CHECKS, ConformanceError, losses
from recbole_dtlns.losses.contract import Listed, ListLoss, Others, RowLoss
from recbole_dtlns.losses.listwise import Listwise
from recbole_dtlns.losses.row_losses import BPR
from recbole_dtlns.losses.table import LOSSES

ROW_LOSSES = [name for name in LOSSES.names() if issubclass(LOSSES.get(name), RowLoss)]  # type: ignore[arg-type]

LIST_LOSSES = [name for name in LOSSES.names() if issubclass(LOSSES.get(name), ListLoss)]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ROW_LOSSES)
@pytest.mark.parametrize("check", ROW_LOSS_CHECKS, ids=lambda check: check.__name__)
def test_built_in_losses_conform(check: Callable[..., None], name: str) -> None:
    check(LOSSES.get(name))


@pytest.mark.parametrize("name", LIST_LOSSES)
@pytest.mark.parametrize("check", LIST_LOSS_CHECKS, ids=lambda check: check.__name__)
def test_built_in_losses_over_lists_conform(check: Callable[..., None], name: str) -> None:
    check(LOSSES.get(name))


class Averages(BPR):
    """One number for the whole batch."""

    def rows(
        self, positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        return super().rows(positive, negatives, weights).mean()


class Overflows(BPR):
    def rows(
        self, positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        terms = (negatives - positive[:, None]).exp()
        return (terms if weights is None else terms * weights).mean(dim=1)


class UpsideDown(BPR):
    def rows(
        self, positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        return super().rows(-positive, -negatives, weights)


class LooksAround(BPR):
    def rows(
        self, positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        return super().rows(positive, negatives - negatives.mean(), weights)


class Unweighted(BPR):
    def rows(
        self, positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        return super().rows(positive, negatives)


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        (Averages, losses.gives_one_finite_loss_per_row, r"the shape \(\), not \[B\]"),
        (Overflows, losses.gives_one_finite_loss_per_row, "NaN or infinite"),
        (UpsideDown, losses.gradients_pull_the_positive_up_and_negatives_down, "the positive is pushed down"),
        (LooksAround, losses.a_batch_is_its_rows_one_by_one, "alone has another loss"),
        (Unweighted, losses.doubtful_negatives_count_less, "a negative of weight 0 is learnt from"),
    ],
)
def test_broken_losses_are_found(broken: type[RowLoss], check: Callable[..., None], message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check(broken)


class AveragesUsers(Listwise):
    """One number for the whole batch."""

    def lists(self, observed: Listed, targets: Listed, others: Others) -> torch.Tensor:
        return super().lists(observed, targets, others).mean()


class CountsTwice(Listwise):
    """Items of the lists are among the others, too."""

    def lists(self, observed: Listed, targets: Listed, others: Others) -> torch.Tensor:
        nothing = torch.zeros_like(others.left_out)
        return super().lists(observed, targets, Others(others.scores, nothing, others.log_weights))


class Repelled(Listwise):
    """Pushes down what the judge named."""

    def lists(self, observed: Listed, targets: Listed, others: Others) -> torch.Tensor:
        return -super().lists(observed, targets, others)


class LooksAtOtherUsers(Listwise):
    def lists(self, observed: Listed, targets: Listed, others: Others) -> torch.Tensor:
        found = super().lists(observed, targets, others)
        return found - found.mean()


class Uncorrected(Listwise):
    def lists(self, observed: Listed, targets: Listed, others: Others) -> torch.Tensor:
        return super().lists(observed, targets, Others(others.scores, others.left_out))


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        (AveragesUsers, losses.gives_one_finite_loss_per_user, r"the shape \(\), not \[B\]"),
        (CountsTwice, losses.gradients_are_finite_and_items_left_out_have_none, "left out is learnt from"),
        (Repelled, losses.targets_are_pulled_up_and_others_pushed_down, "is not pulled up"),
        (LooksAtOtherUsers, losses.a_batch_is_its_users_one_by_one, "alone has another loss"),
        (Uncorrected, losses.a_weighted_draw_counts_as_what_it_stands_for, "the weights of a draw"),
    ],
)
def test_broken_losses_over_lists_are_found(broken: type[ListLoss], check: Callable[..., None], message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check(broken)


@pytest.mark.parametrize(
    ("tried", "checks"),
    [(test_broken_losses_are_found, ROW_LOSS_CHECKS), (test_broken_losses_over_lists_are_found, LIST_LOSS_CHECKS)],
)
def test_every_check_can_fail(tried: Any, checks: tuple[Callable[..., None], ...]) -> None:
    """The lists above leave none out."""
    broken = next(mark for mark in tried.pytestmark if mark.name == "parametrize").args[1]
    assert {check for _, check, _ in broken} == set(checks)
