"""What every loss over a row's own negatives, and every loss over whole lists, must hold to."""

from __future__ import annotations

from collections.abc import Callable

import torch

from recbole_dtlns.conformance.rules import require
from recbole_dtlns.losses.contract import Listed, ListLoss, Others, RowLoss

MakeLoss = Callable[[], RowLoss]
MakeListLoss = Callable[[], ListLoss]

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


_USERS, _ITEMS = 5, 12
# The last user has every item observed; the one before it, no target; the first, no other item.
_OBSERVED = ((0, 1, 2, 3, 4, 5), (0, 1), (2,), (3, 4, 5), tuple(range(_ITEMS)))
_TARGETS = ((6, 7, 8, 9, 10, 11), (2, 3), (7, 8, 9), (), ())


def gives_one_finite_loss_per_user(make: MakeListLoss) -> None:
    """[B], finite, whatever the scores: of users without a target, without another item, and with all observed."""
    for scale in (1.0, 1e4):
        found = _loss_of(make(), _list_scores(scale))
        require(found.shape == (_USERS,), f"the loss has the shape {tuple(found.shape)}, not [B]")
        require(bool(torch.isfinite(found).all()), f"the loss of scores near {scale:g} is NaN or infinite")


def gradients_are_finite_and_items_left_out_have_none(make: MakeListLoss) -> None:
    """Nothing is NaN, a column that is left out for a user is not learnt from, and something is learnt."""
    scores = _list_scores()
    columns = scores.clone().requires_grad_()
    scores.requires_grad_()
    _loss_of(make(), scores, columns).sum().backward()
    assert scores.grad is not None and columns.grad is not None
    for gradient in (scores.grad, columns.grad):
        require(bool(torch.isfinite(gradient).all()), "a gradient is NaN or infinite")
    require(not columns.grad[_left_out()].any(), "a column that is left out is learnt from")
    require(bool(scores.grad.any()), "nothing is learnt")


def targets_are_pulled_up_and_others_pushed_down(make: MakeListLoss) -> None:
    """Where all score alike, the likeliest target of a user gains, and no other item does."""
    scores = torch.zeros(_USERS, _ITEMS)
    columns = scores.clone().requires_grad_()
    scores.requires_grad_()
    _loss_of(make(), scores, columns).sum().backward()
    assert scores.grad is not None and columns.grad is not None
    for user, targets in enumerate(_TARGETS):
        if targets:
            best = max(targets, key=lambda item: _chance(user, item))
            require(bool(scores.grad[user, best] < 0), f"the likeliest target of user {user} is not pulled up")
    require(bool((columns.grad >= 0).all()), "an item that nobody named is pulled up")


def a_batch_is_its_users_one_by_one(make: MakeListLoss) -> None:
    """A user's loss does not depend on the users around it; averaging users is the caller's."""
    scores = _list_scores()
    whole = _loss_of(make(), scores)
    for user in range(_USERS):
        alone = _loss_of(make(), scores, users=(user,))
        require(torch.allclose(alone[0], whole[user], rtol=1e-4), f"user {user} alone has another loss")


def a_weighted_draw_counts_as_what_it_stands_for(make: MakeListLoss) -> None:
    """Every column twice, each with half its weight, is every column once."""
    scores = _list_scores()
    once = _loss_of(make(), scores)
    observed, targets, others = _lists(scores, scores, tuple(range(_USERS)))
    twice = Others(
        torch.cat([others.scores] * 2, dim=1),
        torch.cat([others.left_out] * 2, dim=1),
        torch.full((2 * _ITEMS,), 0.5).log(),
    )
    found = make().lists(observed, targets, twice)
    require(torch.allclose(found, once, rtol=1e-4), "the weights of a draw are not taken into account")


LIST_LOSS_CHECKS: tuple[Callable[[MakeListLoss], None], ...] = (
    gives_one_finite_loss_per_user,
    gradients_are_finite_and_items_left_out_have_none,
    targets_are_pulled_up_and_others_pushed_down,
    a_batch_is_its_users_one_by_one,
    a_weighted_draw_counts_as_what_it_stands_for,
)


def _list_scores(scale: float = 1.0) -> torch.Tensor:
    """Of every item for every user [B, n]."""
    return scale * torch.randn(_USERS, _ITEMS, generator=torch.Generator().manual_seed(0))


def _chance(user: int, item: int) -> float:
    return 0.05 + 0.9 * ((7 * user + 5 * item) % _ITEMS) / _ITEMS


def _left_out(users: tuple[int, ...] = tuple(range(_USERS))) -> torch.Tensor:
    return torch.tensor([[item in (*_OBSERVED[user], *_TARGETS[user]) for item in range(_ITEMS)] for user in users])


def _lists(scores: torch.Tensor, columns: torch.Tensor, users: tuple[int, ...]) -> tuple[Listed, Listed, Others]:
    def listed(of: tuple[tuple[int, ...], ...], judged: bool) -> Listed:
        entries = [(row, user, item) for row, user in enumerate(users) for item in of[user]]
        rows, owners, items = (torch.tensor([entry[at] for entry in entries], dtype=torch.long) for at in range(3))
        chances = torch.tensor([_chance(user, item) for _, user, item in entries]) if judged else None
        return Listed(rows, scores[owners, items], chances)

    others = Others(columns[list(users)], _left_out(users))
    return listed(_OBSERVED, judged=False), listed(_TARGETS, judged=True), others


def _loss_of(
    loss: ListLoss,
    scores: torch.Tensor,
    columns: torch.Tensor | None = None,
    users: tuple[int, ...] = tuple(range(_USERS)),
) -> torch.Tensor:
    """Of some users; the scores of their other items may be given apart."""
    return loss.lists(*_lists(scores, scores if columns is None else columns, users))
