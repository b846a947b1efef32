"""Train positives hidden on purpose: false negatives whose answer is known."""

from __future__ import annotations

import numpy as np

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import DataError
from recbole_dtlns.numerics.groups import of_bounded_size, places

_PAIRS_AT_ONCE = 1_000_000


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
    counts = np.diff(train.matrix.indptr)
    wanted = np.minimum(np.floor(counts * share + random.random(len(counts))), counts - 1)
    if last and train.times is None:
        raise DataError(
            "the last pairs by time cannot be hidden: the data hold no times. Name the TIME_FIELD in load_col, or set "
            "dtlns_judge_hide_last: False"
        )
    hidden, keys = np.zeros(train.matrix.nnz, dtype=bool), []
    for users in of_bounded_size(train.matrix.indptr, _PAIRS_AT_ONCE):
        pairs = slice(train.matrix.indptr[users.start], train.matrix.indptr[users.stop])
        of = np.repeat(np.arange(users.start, users.stop), counts[users])
        hidden[pairs] = (train.ages[pairs] if last else _drawn_places(of, random)) < wanted[of]
        keys.append(of[hidden[pairs]] * np.int64(train.n_items) + train.matrix.indices[pairs][hidden[pairs]])
    if not hidden.any():
        raise DataError("no train pair can be hidden: every user has only one; the judge needs users with two or more")
    return train.without(hidden), np.concatenate(keys)


def _drawn_places(users: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Places of every user's pairs in a random order, from 0, int64 [n_pairs].

    Args:
        users: of the pairs, ascending.
        random: draws a number for each.
    """
    order = np.lexsort((random.random(len(users)), users))
    found = np.empty_like(order)
    found[order] = places(users)
    return found
