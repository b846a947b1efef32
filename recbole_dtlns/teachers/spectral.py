"""What a low-pass filter of the interaction graph thinks of pairs: an opinion made otherwise than a teacher's."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.numerics.dense_algebra import one_thread

_PAIRS_AT_ONCE = 50_000
_ITEMS_PER_DIMENSION, _FEWEST, _MOST = 32, 8, 256


@one_thread
def spectral_scores(train: TrainInteractions, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Scores of pairs under the ideal low-pass filter of GF-CF (Shen et al., CIKM 2021).

    With R' = D_u^-1/2 R D_i^-1/2 and V its leading right singular vectors, user u's scores are
    (R D_i^-1/2)_u V V^T D_i^1/2: what of the history passes the lowest frequencies. The paper keeps 256 vectors for
    tens of thousands of items; fewer items or users get fewer vectors, because all vectors would let all pass. Memory
    is that of a few dense arrays [n_users + n_items, vectors], of doubles: in single precision the ranks of close
    scores depend on the processor.

    Args:
        train: the train interactions.
        users, items: the pairs, canonical ids [n_pairs].

    Returns:
        float64 [n_pairs].
    """
    kept = min(int(np.clip(min(train.n_users, train.n_items) // _ITEMS_PER_DIMENSION, _FEWEST, _MOST)), train.n_items)
    matrix = train.matrix.astype(np.float64)
    user_root, item_root = (np.sqrt(np.maximum(matrix.sum(axis=axis), 1.0)) for axis in (1, 0))
    weighted = sp.csr_array(matrix / item_root)
    _, _, right = randomized_svd(sp.csr_array(weighted / user_root[:, None]), kept, n_iter=4, random_state=0)
    user_vectors, item_vectors = weighted @ right.T, right.T * item_root[:, None]
    scores = np.empty(len(users))
    for start in range(0, len(users), _PAIRS_AT_ONCE):
        pairs = slice(start, start + _PAIRS_AT_ONCE)
        np.einsum("pd,pd->p", user_vectors[users[pairs]], item_vectors[items[pairs]], out=scores[pairs])
    return scores
