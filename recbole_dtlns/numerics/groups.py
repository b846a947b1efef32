"""Entries that lie together by group, such as the pairs of every user."""

from __future__ import annotations

import numpy as np


def places(groups: np.ndarray) -> np.ndarray:
    """Where every entry stands within its group, from 0, int64 [n].

    Args:
        groups: of the entries, ascending [n].
    """
    return np.arange(len(groups)) - np.searchsorted(groups, groups)
