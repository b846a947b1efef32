"""Sums over the items of a user's lists: on a logarithmic scale, with gradients that are finite where one is empty."""

from __future__ import annotations

import torch

from recbole_dtlns.losses.contract import Others


def log_sum(rows: torch.Tensor, values: torch.Tensor, n_rows: int) -> torch.Tensor:
    """log sum exp(values) over the entries of every row [n_rows]; the least finite number where a row has none.

    Args:
        rows: the row of each entry, int64 [n].
        values: of the entries [n].
        n_rows: number of rows.
    """
    least = torch.finfo(values.dtype).min
    highest = values.new_full((n_rows,), least).scatter_reduce(0, rows, values.detach(), "amax")
    total = values.new_zeros(n_rows).index_add(0, rows, (values - highest[rows]).exp())
    return highest + total.clamp_min(torch.finfo(values.dtype).tiny).log()


def log_sum_of_others(others: Others, temperature: float) -> torch.Tensor:
    """log sum weight exp(score / temperature) over the other items of every row [B].

    -inf in place of the least finite number would make the gradients of a row NaN in which all are left out.
    """
    values = others.scores if temperature == 1 else others.scores / temperature
    if others.log_weights is not None:
        values = values + others.log_weights
    return values.masked_fill(others.left_out, torch.finfo(values.dtype).min).logsumexp(dim=1)


def mean_by_row(rows: torch.Tensor, values: torch.Tensor, n_rows: int) -> torch.Tensor:
    """The mean over the entries of every row [n_rows]; 0 where a row has none. Arguments as for `log_sum`."""
    counts = values.new_zeros(n_rows).index_add(0, rows, torch.ones_like(values))
    return values.new_zeros(n_rows).index_add(0, rows, values) / counts.clamp_min(1)
