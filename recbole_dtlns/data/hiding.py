"""Train positives hidden on purpose: false negatives whose answer is known."""

from __future__ import annotations

import numpy as np

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import DataError


def hide_positives(
    train: TrainInteractions, share: float, seed: int, last: bool = False
) -> tuple[TrainInteractions, np.ndarray]:
    """Hide a share of every user's train pairs; every user keeps at least one pair.

    Args:
        train: the train interactions.
        share: of each user's pairs to hide, in (0, 1); rounded at random, so short histories take part.
        seed: of the choice.
        last: hide each user's last pairs by time (`TrainInteractions.ages`), in place of any.

    Returns:
        the train interactions without the hidden pairs (canonical ids unchanged), and the hidden pairs as sorted
        keys user * n_items + item, int64.

    Raises:
        DataError: no user has a pair to spare, or the last ones are asked for and the data hold no times.
    """
    random = np.random.default_rng(seed)
    users, items = train.histories()
    counts = np.diff(train.matrix.indptr)
    wanted = np.minimum(np.floor(counts * share + random.random(len(counts))), counts - 1)
    if last and train.times is None:
        raise DataError(
            "the last pairs by time cannot be hidden: the data hold no times. Name the TIME_FIELD in load_col, or set "
            "dtlns_judge_hide_last: False"
        )
    hidden = (train.ages if last else _drawn_places(train, random)) < wanted[users]
    if not hidden.any():
        raise DataError("no train pair can be hidden: every user has only one; the judge needs users with two or more")
    return train.without(hidden), users[hidden] * train.n_items + items[hidden]


def _drawn_places(train: TrainInteractions, random: np.random.Generator) -> np.ndarray:
    """Places of every user's pairs in a random order, from 0, int64 [n_pairs]."""
    users, _ = train.histories()
    order = np.lexsort((random.random(len(users)), users))
    places = np.empty_like(order)
    places[order] = np.arange(len(users)) - train.matrix.indptr[:-1][users]
    return places
