"""The rule that the paper's prompt describes, computed exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_dtlns.judges.contract import Label, Question, Verdicts
from recbole_dtlns.judges.history import TreeSimilarity, over_history


class StructuralJudge:
    """Positive when the candidate is similar enough to the user's history in either tree.

    The probability is the largest tree similarity (longest common prefix / shorter path) between the candidate
    and any history item, over both trees; the label is positive when it reaches the threshold. The published
    prompt leaves "a clear shared prefix" undefined; the threshold defines it, independently of tree depth.

    Args:
        threshold: in (0, 1]; 1 asks for a history item in the candidate's own leaf.
    """

    version = 1
    keeps_verdicts = False

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    @classmethod
    def from_settings(cls, settings: Any) -> StructuralJudge:
        return cls(settings.judge_threshold)

    def inputs(self) -> dict[str, Any]:
        return {"judge": "structural", "threshold": self.threshold}

    def judge(self, question: Question) -> Verdicts:
        """Verdicts for all candidates; abstains where the item or the whole history is in neither tree."""
        best = np.maximum(
            *over_history(question, TreeSimilarity(question.structure), TreeSimilarity(question.semantic))
        )
        unknown = best < 0
        best[unknown] = np.nan
        label = np.where(best >= self.threshold, Label.POSITIVE, Label.NEGATIVE).astype(np.int8)
        label[unknown] = Label.ABSTAIN
        reasons = {"candidate or history is in neither tree": int(unknown.sum())} if unknown.any() else {}
        return Verdicts(best, label, reasons)
