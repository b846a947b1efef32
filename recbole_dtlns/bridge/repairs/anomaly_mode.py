"""Importing RecBole's sequential models turns torch's search for anomalies on, which is put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def anomaly_mode_kept() -> Iterator[None]:
    """After the context, torch looks for anomalies as it did before.

    RecBole's module of SINE switches that on for the whole process when it is imported, and it is imported for every
    sequential and knowledge-aware model. Each operation then notes where it was called from: the numbers are the same,
    and training takes longer. That a loss is no number is noticed without it.
    """
    before = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    try:
        yield
    finally:
        torch.autograd.set_detect_anomaly(*before)
