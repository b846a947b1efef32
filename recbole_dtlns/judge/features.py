"""What is known about a candidate pair without asking anybody."""

from __future__ import annotations

import numpy as np

from recbole_dtlns.judge.contract import Question
from recbole_dtlns.judge.structural import history_similarity
from recbole_dtlns.tree.structure import item_graph

FEATURES = (
    "structure_overlap",
    "semantic_overlap",
    "score",
    "score_gap",
    "rank",
    "popularity",
    "co_occurrence",
    "history_length",
)
_CHUNK_USERS = 2048


def pair_features(question: Question) -> np.ndarray:
    """Features of every candidate pair, in the order of `FEATURES`.

    - `structure_overlap`, `semantic_overlap`: largest tree similarity to the history (0 where a path is missing);
    - `score`: the teacher's score; `score_gap`: how far it is below the user's best candidate;
    - `rank`: log(1 + the teacher's rank);
    - `popularity`, `history_length`: log(1 + train count) of item and user, less its mean over all items and users, so
      that hiding some pairs does not shift it;
    - `co_occurrence`: sum of the item graph's weights between candidate and history, over history length.

    Returns:
        float32 [n_pairs, 8].
    """
    candidates, matrix = question.candidates, question.train.matrix
    users, items = candidates.users, candidates.items
    lengths = np.diff(matrix.indptr)
    popularity = np.asarray(matrix.sum(axis=0)).ravel()
    first = np.searchsorted(users, users)
    columns = (
        np.nan_to_num(history_similarity(question, question.structure)),
        np.nan_to_num(history_similarity(question, question.semantic)),
        candidates.scores,
        candidates.scores[first] - candidates.scores,
        np.log1p(candidates.ranks),
        (np.log1p(popularity) - np.log1p(popularity).mean())[items],
        _co_occurrence(question) / np.maximum(lengths[users], 1),
        (np.log1p(lengths) - np.log1p(lengths).mean())[users],
    )
    return np.stack(columns, axis=1).astype(np.float32)


def _co_occurrence(question: Question) -> np.ndarray:
    """Sum over the user's history of the item graph's weight to the candidate, float64 [n_pairs]."""
    candidates, matrix = question.candidates, question.train.matrix.astype(np.float64)
    graph = item_graph(question.train)
    result = np.zeros(len(candidates))
    for start in range(0, question.train.n_users, _CHUNK_USERS):
        stop = min(start + _CHUNK_USERS, question.train.n_users)
        low, high = np.searchsorted(candidates.users, [start, stop])
        weights = matrix[start:stop] @ graph
        result[low:high] = weights.toarray()[candidates.users[low:high] - start, candidates.items[low:high]]
    return result
