"""The rule that the paper's prompt describes, computed exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.judges.contract import Judge, Label, Pairs, Question, Verdicts
from recbole_dtlns.judges.history import TreeSimilarity, over_history
from recbole_dtlns.judges.pair_blocks import over_pairs


class StructuralJudge(Judge):
    """Positive when the candidate is similar enough to the user's history in any tree.

    The probability is the largest tree similarity (longest common prefix / shorter path) between the candidate
    and any history item, over all trees; the label is positive when it reaches the threshold. The published
    prompt leaves "a clear shared prefix" undefined; the threshold defines it, independently of tree depth.
    """

    class Config(ComponentConfig):
        """Settings of the rule."""

        prefix = "judge_"

        threshold: float = Field(0.5, gt=0, le=1)
        """Similarity to the history, in either tree, that makes a positive; 1 means the same leaf."""

    config: Config
    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"judge": "structural", "threshold": self.config.threshold}

    def judge(self, question: Question) -> Verdicts:
        """Verdicts for all candidates; abstains where the item or the whole history is in no tree."""
        compared = _Compared(question.bare(), tuple(map(TreeSimilarity, question.views.values())))
        best = over_pairs(_most_alike, compared, question, "similarity")["similarity"]
        unknown = best < 0
        best[unknown] = np.nan
        label = np.where(best >= self.config.threshold, Label.POSITIVE, Label.NEGATIVE).astype(np.int8)
        label[unknown] = Label.ABSTAIN
        reasons = {"candidate or history is in neither tree": int(unknown.sum())} if unknown.any() else {}
        return Verdicts(best, label, reasons)


@dataclass(frozen=True)
class _Compared:
    question: Question
    measures: tuple[TreeSimilarity, ...]


def _most_alike(compared: _Compared, pairs: Pairs) -> dict[str, np.ndarray]:
    similarities = over_history(compared.question.asking(pairs), *compared.measures)
    return {"similarity": np.maximum.reduce(similarities)}
