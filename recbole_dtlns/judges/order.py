"""Candidates compared with the end of their users' histories: what the order of time says of a pair."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.data.transitions import last_items
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.teachers.markov_chain import DECAY, ORDER, transition_weights
from recbole_dtlns.trees.structure import item_graph

_PAIRS_AT_ONCE = 50_000


def transition_scores(question: Question) -> np.ndarray:
    """What `MarkovChain`, as it stands, thinks of every candidate: transitions from the user's last items.

    Returns:
        float32 [n_pairs]; 0 where none of them was followed by the candidate.

    Raises:
        DataError: the data hold no times.
    """
    train = question.train
    return _at_pairs(question, last_items(train, ORDER, DECAY), transition_weights(train))


def recency(question: Question) -> np.ndarray:
    """How recent those items of the history are with which a candidate shares users.

    The mean of decay^age over the history, weighed by the item graph (`item_graph`), where the last item's age is 0.

    Returns:
        float32 [n_pairs], within [0, 1]; 0 where the graph joins the candidate to none of the history.

    Raises:
        DataError: the data hold no times.
    """
    train = question.train
    graph = item_graph(train)
    longest = int(np.diff(train.matrix.indptr).max())
    recent = _at_pairs(question, last_items(train, longest, DECAY), graph)
    whole = _at_pairs(question, train.narrow, graph)
    return np.divide(recent, whole, out=np.zeros_like(recent), where=whole > 0)


def _at_pairs(question: Question, histories: sp.csr_array, weights: sp.csr_array) -> np.ndarray:
    """Entries of the product histories @ weights at the candidate pairs, float32 [n_pairs]."""
    candidates = question.candidates
    found = np.zeros(len(candidates), dtype=np.float32)
    for start in range(0, len(candidates), _PAIRS_AT_ONCE):
        pairs = slice(start, start + _PAIRS_AT_ONCE)
        users, row = np.unique(candidates.users[pairs], return_inverse=True)
        product = sp.csr_array(histories[users] @ weights)
        found[pairs] = np.asarray(product[row, candidates.items[pairs]]).ravel()
    return found
