"""Pairs judged in blocks of whole users."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from recbole_dtlns.blocks.in_tasks import OnBlock
from recbole_dtlns.blocks.work import over_blocks
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.numerics.groups import whole_groups

_PAIRS_AT_ONCE = 16_384


class AboutPairs(Protocol):
    """What all blocks of pairs read."""

    @property
    def question(self) -> Question:
        """The question that the pairs are of, as it is sent to whoever works on a block: bare."""


def over_pairs(function: OnBlock, known: AboutPairs, work: str) -> dict[str, Any]:
    """As `over_blocks`, over the question's candidates, which are cut between users; there may be none."""
    users: np.ndarray = known.question.candidates.users
    blocks = whole_groups(users, _PAIRS_AT_ONCE) or [slice(0, 0)]
    return over_blocks(function, known, blocks, work)
