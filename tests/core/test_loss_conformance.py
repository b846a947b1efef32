"""Built-in losses pass the checks that are given to authors of others, and each check finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from recbole_dtlns.conformance import ROW_LOSS_CHECKS, ConformanceError, losses
from recbole_dtlns.losses.contract import RowLoss
from recbole_dtlns.losses.row_losses import BPR
from recbole_dtlns.losses.table import LOSSES

ROW_LOSSES = [name for name in LOSSES.names() if issubclass(LOSSES.get(name), RowLoss)]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ROW_LOSSES)
@pytest.mark.parametrize("check", ROW_LOSS_CHECKS, ids=lambda check: check.__name__)
def test_built_in_losses_conform(check: Callable[..., None], name: str) -> None:
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


def test_every_check_can_fail() -> None:
    """The list above leaves none out."""
    broken = next(mark for mark in test_broken_losses_are_found.pytestmark if mark.name == "parametrize").args[1]
    assert {check for _, check, _ in broken} == set(ROW_LOSS_CHECKS)
