"""What every loss over a row's own negatives must hold to."""

from __future__ import annotations

from collections.abc import Callable

import torch

from recbole_dtlns.conformance.rules import require
from recbole_dtlns.losses.contract import RowLoss

MakeLoss = Callable[[], RowLoss]

_ROWS, _NEGATIVES = 6, 4


def gives_one_finite_loss_per_row(make: MakeLoss) -> None:
    """[B], finite and not below 0, for 1 and more negatives, whatever the scores and weights."""
    for scale in (1.0, 1e4):
        for count in (1, _NEGATIVES):
            positive, negatives, weights = _scores(count, scale)
            for given in (None, weights, torch.zeros_like(weights)):
                found = make().rows(positive, negatives, given)
                require(found.shape == (_ROWS,), f"the loss has the shape {tuple(found.shape)}, not [B]")
                require(bool(torch.isfinite(found).all()), f"the loss of scores near {scale:g} is NaN or infinite")
                require(bool((found >= 0).all()), "a loss is below 0")


def gradients_pull_the_positive_up_and_negatives_down(make: MakeLoss) -> None:
    """Every gradient is finite, not above 0 for the positive, and not below 0 for a negative; something is learnt."""
    positive, negatives, _ = _scores(_NEGATIVES)
    positive.requires_grad_(), negatives.requires_grad_()
    make().rows(positive, negatives).sum().backward()
    assert positive.grad is not None and negatives.grad is not None
    for gradient in (positive.grad, negatives.grad):
        require(bool(torch.isfinite(gradient).all()), "a gradient is NaN or infinite")
    require(bool((positive.grad <= 0).all()), "the positive is pushed down")
    require(bool((negatives.grad >= 0).all()), "a negative is pulled up")
    require(bool((positive.grad < 0).any()), "nothing is learnt")


def a_batch_is_its_rows_one_by_one(make: MakeLoss) -> None:
    """A row's loss does not depend on the rows around it; weighing and averaging rows is the caller's."""
    positive, negatives, weights = _scores(_NEGATIVES)
    whole = make().rows(positive, negatives, weights)
    for row in range(_ROWS):
        alone = make().rows(positive[row : row + 1], negatives[row : row + 1], weights[row : row + 1])
        require(torch.allclose(alone[0], whole[row]), f"row {row} alone has another loss")


def doubtful_negatives_count_less(make: MakeLoss) -> None:
    """No weights are weights of 1; a negative of weight 0 has no gradient, and less weight never makes more loss."""
    positive, negatives, weights = _scores(_NEGATIVES)
    unweighted = make().rows(positive, negatives)
    ones = make().rows(positive, negatives, torch.ones_like(negatives))
    require(torch.allclose(unweighted, ones), "weights of 1 are not the same as no weights")
    weighted = make().rows(positive, negatives, weights)
    require(bool((weighted <= unweighted + 1e-6).all()), "less weight makes more loss")
    negatives.requires_grad_()
    weights[:, 0] = 0
    make().rows(positive, negatives, weights).sum().backward()
    assert negatives.grad is not None
    require(not negatives.grad[:, 0].any(), "a negative of weight 0 is learnt from")


ROW_LOSS_CHECKS: tuple[Callable[[MakeLoss], None], ...] = (
    gives_one_finite_loss_per_row,
    gradients_pull_the_positive_up_and_negatives_down,
    a_batch_is_its_rows_one_by_one,
    doubtful_negatives_count_less,
)


def _scores(count: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores of positives [B] and negatives [B, K], and weights of these."""
    random = torch.Generator().manual_seed(0)
    positive = scale * torch.randn(_ROWS, generator=random)
    negatives = scale * torch.randn(_ROWS, count, generator=random)
    return positive, negatives, torch.rand(_ROWS, count, generator=random)
