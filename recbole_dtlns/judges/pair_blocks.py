"""Pairs judged in blocks of whole users."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_dtlns.blocks.in_tasks import OnBlock
from recbole_dtlns.blocks.work import over_blocks
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.numerics.groups import whole_groups

_PAIRS_AT_ONCE = 16_384


def over_pairs(function: OnBlock, known: Any, question: Question, work: str) -> dict[str, np.ndarray]:
    """As `over_blocks`, over the question's candidates, which are cut between users; there may be none.

    Args:
        function: what is done with the `Pairs` of a block.
        known: what all blocks read; a question among it should be bare.
        question: whose pairs these are.
        work: a name for it.
    """
    blocks = whole_groups(question.candidates.users, _PAIRS_AT_ONCE) or [slice(0, 0)]
    return over_blocks(function, known, blocks, work, give=question.pairs)
