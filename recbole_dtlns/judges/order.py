"""Candidates compared with the end of their users' histories: what the order of time says of a pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.transitions import last_items
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.teachers.markov_chain import DECAY, ORDER, transition_weights
from recbole_dtlns.trees.structure import item_graph

_PAIRS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Order:
    """What the order of histories says of pairs, made once for all of them.

    Attributes:
        last: every user's last items, decaying, CSR float32 [n_users, n_items].
        transitions: weights of `MarkovChain`, as it stands, CSR float32 [n_items, n_items].
        recent, whole: every user's items, decaying and as they are, CSR float32 [n_users, n_items].
        graph: `item_graph`.
    """

    last: sp.csr_array
    transitions: sp.csr_array
    recent: sp.csr_array
    whole: sp.csr_array
    graph: sp.csr_array

    @classmethod
    def of(cls, train: TrainInteractions) -> Order:
        """The order of these histories.

        Raises:
            DataError: the data hold no times.
        """
        longest = int(np.diff(train.matrix.indptr).max())
        return cls(
            last_items(train, ORDER, DECAY),
            transition_weights(train),
            last_items(train, longest, DECAY),
            train.matrix,
            item_graph(train),
        )

    def transition_scores(self, candidates: Candidates) -> np.ndarray:
        """What `MarkovChain` thinks of every candidate: transitions from the user's last items.

        Returns:
            float32 [n_pairs]; 0 where none of them was followed by the candidate.
        """
        return _at_pairs(candidates, self.last, self.transitions)

    def recency(self, candidates: Candidates) -> np.ndarray:
        """How recent those items of the history are with which a candidate shares users.

        The mean of decay^age over the history, weighed by the item graph, where the last item's age is 0.

        Returns:
            float32 [n_pairs], within [0, 1]; 0 where the graph joins the candidate to none of the history.
        """
        recent = _at_pairs(candidates, self.recent, self.graph)
        whole = _at_pairs(candidates, self.whole, self.graph)
        return np.divide(recent, whole, out=np.zeros_like(recent), where=whole > 0)


def _at_pairs(candidates: Candidates, histories: sp.csr_array, weights: sp.csr_array) -> np.ndarray:
    """Entries of the product histories @ weights at the candidate pairs, float32 [n_pairs]."""
    found = np.zeros(len(candidates), dtype=np.float32)
    for start in range(0, len(candidates), _PAIRS_AT_ONCE):
        pairs = slice(start, start + _PAIRS_AT_ONCE)
        users, row = np.unique(candidates.users[pairs], return_inverse=True)
        product = sp.csr_array(histories[users] @ weights)
        found[pairs] = np.asarray(product[row, candidates.items[pairs]]).ravel()
    return found
