"""What draws a query to a hard negative: the loss of HNLMRec's collaborative fine-tuning."""

from __future__ import annotations

import torch
from torch.nn import functional


def in_batch_loss(query: torch.Tensor, wanted: torch.Tensor, away: torch.Tensor, temperature: float) -> torch.Tensor:
    """The mean over i, j of -log sigmoid((cos(q_i, wanted_i) - cos(q_i, away_j)) / temperature) (arXiv 2504.05050).

    Args:
        query: [B, d].
        wanted: of the hard negative of each [B, d].
        away: of the interacted item of each [B, d].
        temperature: divides the differences of cosines.
    """
    query, wanted, away = (functional.normalize(rows, dim=1) for rows in (query, wanted, away))
    difference = (query * wanted).sum(dim=1, keepdim=True) - query @ away.T
    return functional.softplus(-difference / temperature).mean()
