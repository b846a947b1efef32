"""Profiles by template: an item is what it says, a user what was chosen.

As vectors they are means; as text, for a language model, lines.
"""

from __future__ import annotations

import numpy as np

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.numerics.dense_algebra import one_thread
from recbole_dtlns.numerics.factors import unit_rows


@one_thread
def user_profiles(train: TrainInteractions, vectors: np.ndarray) -> np.ndarray:
    """The mean of what a user's train items say, of length 1, float32 [n_users, d]; zeros where all say nothing.

    Args:
        train: the train pairs.
        vectors: of the items, float32 [n_items, d].
    """
    return unit_rows(train.matrix @ np.asarray(vectors, dtype=np.float32))
