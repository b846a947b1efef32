"""Candidates compared with the histories of their users: the part of judging that costs time, done once for all."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.numerics.dense_algebra import one_thread
from recbole_dtlns.trees.item_tree import ItemTree
from recbole_dtlns.trees.structure import item_graph

_CHUNK_COMPARISONS = 250_000  # (candidate, history item) comparisons at once: they stay in the cache
_UNKNOWN = np.float32(-1)


class Measure(Protocol):
    """Compares a candidate with one history item.

    Attributes:
        combine: how the values over a history become one.
    """

    combine: np.ufunc

    def compare(self, candidates: np.ndarray, counts: np.ndarray, history: np.ndarray) -> np.ndarray:
        """Values of every comparison.

        Args:
            candidates: items, int32 [n].
            counts: history items of each, int64 [n].
            history: those items, one after the other, int32 [sum of counts].

        Returns:
            float32 [sum of counts].
        """
        ...


class TreeSimilarity:
    """Similarity in one tree (`ItemTree.similarity`), but -1 where either item has no path; the largest counts."""

    combine: np.ufunc = np.maximum

    def __init__(self, tree: ItemTree) -> None:
        self.tree = tree
        self._leaf = np.where(tree.leaf_of_item < 0, tree.n_leaves, tree.leaf_of_item).astype(np.int32)
        self._width = np.int32(tree.n_leaves + 1)
        table = tree.leaf_similarity
        self._table = None if table is None else np.pad(table, (0, 1), constant_values=_UNKNOWN).ravel()

    def compare(self, candidates: np.ndarray, counts: np.ndarray, history: np.ndarray) -> np.ndarray:
        if self._table is not None:
            place = np.repeat(self._leaf[candidates] * self._width, counts)
            place += self._leaf[history]
            return self._table.take(place)
        first = np.repeat(candidates, counts)
        unknown = np.maximum(self._leaf[first], self._leaf[history]) == self.tree.n_leaves
        return np.where(unknown, _UNKNOWN, self.tree.similarity(first, history))


class CoOccurrence:
    """Weight in the item graph (Jaccard of the two items' users, 0 with itself); the sum counts."""

    combine: np.ufunc = np.add

    def __init__(self, train: TrainInteractions) -> None:
        self.graph = item_graph(train)

    def compare(self, candidates: np.ndarray, counts: np.ndarray, history: np.ndarray) -> np.ndarray:
        return np.asarray(self.graph[history, np.repeat(candidates, counts)]).ravel()


def over_history(question: Question, *measures: Measure) -> list[np.ndarray]:
    """Every measure of every candidate against the history of its user.

    Time and memory are linear in candidates x history length; memory beside the result is bounded.

    Returns:
        float32 [n_pairs] per measure.
    """
    candidates, matrix = question.candidates, question.train.matrix
    counts = np.diff(matrix.indptr)[candidates.users].astype(np.int64)
    ends = np.cumsum(counts)
    results = [np.full(len(candidates), _UNKNOWN, dtype=np.float32) for _ in measures]
    start = 0
    while start < len(candidates):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _CHUNK_COMPARISONS, side="right")))
        pairs = slice(start, stop)
        first = ends[pairs] - counts[pairs] - done
        place = np.arange(ends[stop - 1] - done, dtype=matrix.indptr.dtype)
        place += np.repeat((matrix.indptr[candidates.users[pairs]] - first).astype(place.dtype), counts[pairs])
        history = matrix.indices[place].astype(np.int32, copy=False)
        for measure, result in zip(measures, results, strict=True):
            values = measure.compare(candidates.items[pairs], counts[pairs], history)
            result[pairs] = measure.combine.reduceat(values, first)
        start = stop
    return results


@one_thread
def text_similarity(question: Question, vectors: np.ndarray) -> np.ndarray:
    """The largest and the mean cosine of every candidate's text vector to those of its user's history.

    Items without text are left out of the history; 0 where nothing is left, or the candidate says nothing.

    Args:
        question: with candidates.
        vectors: what is said of the items, float32 [n_items, d], of length 1, or 0 for an item without text.

    Returns:
        float32 [n_pairs, 2].
    """
    candidates, train = question.candidates, question.train
    says = np.asarray(vectors.any(axis=1))
    found = np.zeros((len(candidates), 2), dtype=np.float32)
    users = np.unique(candidates.users)
    first, last = (np.searchsorted(candidates.users, users, side=side) for side in ("left", "right"))
    starts, stops = train.matrix.indptr[users], train.matrix.indptr[users + 1]
    # A user at a time: a small product of two small matrices, which is far quicker than gathering both for every pair.
    for pair, end, start, stop in zip(*(each.tolist() for each in (first, last, starts, stops)), strict=True):
        history = train.matrix.indices[start:stop]
        history = history[says[history]]
        if len(history):
            cosines = vectors[candidates.items[pair:end]] @ vectors[history].T
            np.max(cosines, axis=1, out=found[pair:end, 0])
            np.mean(cosines, axis=1, out=found[pair:end, 1])
    found[~says[candidates.items]] = 0
    return found
