"""The rule that the paper's prompt describes, computed exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_dtlns.judge.contract import Label, Question, Verdicts
from recbole_dtlns.tree.item_tree import ItemTree

_CHUNK_COMPARISONS = 4_000_000  # (candidate, history leaf) comparisons held at once


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
        best = np.fmax(
            history_similarity(question, question.structure), history_similarity(question, question.semantic)
        )
        unknown = np.isnan(best)
        label = np.where(best >= self.threshold, Label.POSITIVE, Label.NEGATIVE).astype(np.int8)
        label[unknown] = Label.ABSTAIN
        reasons = {"candidate or history is in neither tree": int(unknown.sum())} if unknown.any() else {}
        return Verdicts(best.astype(np.float32), label, reasons)


def history_similarity(question: Question, tree: ItemTree) -> np.ndarray:
    """Largest similarity in one tree between every candidate and the history of its user.

    Similarity depends only on leaves, so each user's history is first reduced to its distinct leaves.

    Returns:
        float32 [n_pairs]; NaN where the item or the whole history has no path in this tree.
    """
    users, items = question.train.histories()
    leaves = tree.leaf_of_item[items]
    known = leaves >= 0
    history = np.unique(users[known] * tree.n_leaves + leaves[known])
    history_users, history_leaves = np.divmod(history, max(tree.n_leaves, 1))
    starts = np.searchsorted(history_users, np.arange(question.train.n_users + 1))
    member = np.zeros(max(tree.n_leaves, 1), dtype=np.int64)  # one item of every leaf, to stand for it
    member[tree.leaf_of_item[tree.leaf_of_item >= 0]] = np.flatnonzero(tree.leaf_of_item >= 0)

    candidates = question.candidates
    result = np.full(len(candidates), np.nan, dtype=np.float32)
    lengths = (starts[1:] - starts[:-1])[candidates.users]
    lengths[tree.leaf_of_item[candidates.items] < 0] = 0
    askable = np.flatnonzero(lengths)
    bounds = np.searchsorted(np.cumsum(lengths[askable]), np.arange(0, lengths.sum(), _CHUNK_COMPARISONS))
    for pairs in np.split(askable, bounds[1:]):
        if len(pairs) == 0:
            continue
        count = lengths[pairs]
        first = np.cumsum(count) - count
        position = np.arange(count.sum()) - np.repeat(first, count) + np.repeat(starts[candidates.users[pairs]], count)
        similarity = tree.similarity(np.repeat(candidates.items[pairs], count), member[history_leaves[position]])
        result[pairs] = np.maximum.reduceat(similarity, first)
    return result
