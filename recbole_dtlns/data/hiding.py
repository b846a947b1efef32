"""Train positives hidden on purpose: false negatives whose answer is known."""

from __future__ import annotations

import numpy as np

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import DataError


def hide_positives(train: TrainInteractions, share: float, seed: int) -> tuple[TrainInteractions, np.ndarray]:
    """Hide a share of every user's train pairs; every user keeps at least one pair.

    Args:
        train: the train interactions.
        share: of each user's pairs to hide, in (0, 1); rounded at random, so short histories take part.
        seed: of the choice.

    Returns:
        the train interactions without the hidden pairs (canonical ids unchanged), and the hidden pairs as sorted
        keys user * n_items + item, int64.

    Raises:
        DataError: no user has a pair to spare.
    """
    random = np.random.default_rng(seed)
    users, items = train.histories()
    counts = np.diff(train.matrix.indptr)
    wanted = np.minimum(np.floor(counts * share + random.random(len(counts))).astype(np.int64), counts - 1)
    order = np.lexsort((random.random(len(users)), users))  # a random order within each user
    place = np.empty(len(users), dtype=np.int64)
    place[order] = np.arange(len(users)) - np.repeat(train.matrix.indptr[:-1], counts)
    hidden = place < wanted[users]
    if not hidden.any():
        raise DataError("no train pair can be hidden: every user has only one; the judge needs users with two or more")
    return train.without(hidden), users[hidden] * train.n_items + items[hidden]
