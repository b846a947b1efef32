"""Scores of candidates by products of vectors."""

from __future__ import annotations

import warnings

import torch
from torch.nn import functional


@torch.no_grad()
def candidate_scores(users: torch.Tensor, items: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """The product of every row's user vector with those of its candidates, without gradient.

    On a CPU the entries of a product of two matrices are computed where they are wanted and nowhere else, which reads
    every vector once; elsewhere the candidates' vectors are gathered first.

    Args:
        users: vectors of the rows [B, d].
        items: vectors of all items [n_items, d].
        candidates: item ids [B, n].

    Returns:
        [B, n].
    """
    rows, n = candidates.shape
    sampled = users.device.type == "cpu" and users.dtype in (torch.float32, torch.float64) and n <= len(items)
    if not sampled:  # PyTorch has it for these alone
        return torch.bmm(functional.embedding(candidates, items), users.unsqueeze(2)).squeeze(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch calls compressed rows a beta feature
        wanted = torch.sparse_csr_tensor(
            torch.arange(0, rows * n + 1, n),
            candidates.reshape(-1),
            users.new_zeros(rows * n),
            (rows, len(items)),
            check_invariants=False,
        )
        return torch.sparse.sampled_addmm(wanted, users, items.t(), beta=0).values().view(rows, n)
