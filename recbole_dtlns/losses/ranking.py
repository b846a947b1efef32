"""Ranking losses over K negatives per positive, with weights for negatives.

All take scores and give one loss per row; weighing and averaging rows is left to the caller. A negative's weight v_k in
[0, 1] is 1 minus the probability that it is a false negative.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def bpr(positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """mean_k v_k * -log sigmoid(s_p - s_k) (Rendle et al., UAI 2009); a mean, so that K does not scale the step.

    Args:
        positive: scores [B].
        negatives: scores [B, K].
        weights: v [B, K]; None for ones.

    Returns:
        [B].
    """
    terms = functional.softplus(negatives - positive[:, None])
    return (terms if weights is None else weights * terms).mean(dim=1)


def sum_exp(positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """log(1 + sum_k v_k exp(s_k - s_p)): the loss of MixGCF and its family [B]; arguments as for `bpr`."""
    return softmax(positive, negatives, weights)


def hinge(
    positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None, margin: float = 0.3
) -> torch.Tensor:
    """mean_k v_k * max(0, margin + s_k - s_p) [B]; arguments as for `bpr`."""
    terms = functional.relu(margin + negatives - positive[:, None])
    return (terms if weights is None else weights * terms).mean(dim=1)


def softmax(
    positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None, temperature: float = 1.0
) -> torch.Tensor:
    """Cross-entropy of the positive among itself and the K negatives [B]; arguments as for `bpr`.

    Scores are divided by the temperature. At 1 it is `sum_exp`, and that, with K = 1, is `bpr`.
    """
    return cross_entropy(positive, negatives, None if weights is None else weights.log(), temperature)


def cross_entropy(
    positive: torch.Tensor, negatives: torch.Tensor, log_weights: torch.Tensor | None, temperature: float = 1.0
) -> torch.Tensor:
    """log(1 + sum_k exp((s_k - s_p) / temperature + log v_k)) [B]; -inf leaves a negative out."""
    difference = (negatives - positive[:, None]) / temperature
    if log_weights is not None:
        # -inf itself would make the gradient of a row in which all are left out NaN instead of zero.
        least = torch.finfo(difference.dtype).min
        difference = (difference + log_weights).masked_fill(torch.isneginf(log_weights), least)
    return functional.softplus(torch.logsumexp(difference, dim=1))
