"""What every teacher must hold to.

Beside what is checked: a teacher that scores few of many items returns sparse scores, because memory must not grow with
users x items; at the size of these checks that cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.conformance.blocks import block_content, block_interactions, block_of
from recbole_dtlns.conformance.plain_copy import plain_copy
from recbole_dtlns.conformance.rules import ConformanceError, require
from recbole_dtlns.conformance.told_apart import require_inputs_tell_results_apart
from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.errors import DTLNSError
from recbole_dtlns.teachers.contract import FittedTeacher, Teacher, top_candidates

MakeTeacher = Callable[..., Teacher]  # the class, or what takes its settings by name

_BLOCKS, _MISSING = 4, 3
_CANDIDATES = 10
_LONELY = "lonely"  # an item that one user has, beside others


def gives_scores_and_item_vectors(make: MakeTeacher) -> None:
    """Vectors are finite float32 [n_items, d]; scores are floats [B, n_items], dense or CSR, without NaN or +inf."""
    for train in (_ragged(), _blocks()):
        fitted = make().fit(train)
        vectors = fitted.item_vectors
        require(isinstance(vectors, np.ndarray), f"item vectors are a {type(vectors).__name__}, not a NumPy array")
        require(vectors.dtype == np.float32, f"item vectors are {vectors.dtype}, not float32")
        require(
            vectors.ndim == 2 and len(vectors) == train.n_items and vectors.shape[1] > 0,
            f"item vectors have the shape {vectors.shape}, not [n_items, d]",
        )
        require(bool(np.isfinite(vectors).all()), "an item vector holds NaN or infinity")
        for users in (np.arange(train.n_users), np.array([train.n_users - 1, 0, 0]), np.array([1])):
            scores = fitted.scores(users)
            require(isinstance(scores, np.ndarray | sp.csr_array), f"scores are a {type(scores).__name__}")
            require(scores.dtype.kind == "f", f"scores are {scores.dtype}, not floats")
            wanted = (len(users), train.n_items)
            require(scores.shape == wanted, f"scores have the shape {scores.shape}, not [B, n_items], {wanted}")
            values = scores.data if isinstance(scores, sp.csr_array) else scores
            require(bool((values < np.inf).all()), "scores hold NaN or +infinity")


def is_fitted_twice_alike(make: MakeTeacher) -> None:
    """The same pairs in another order give the same vectors and scores, to the last bit; all randomness is seeded."""
    for train in (_ragged(), _blocks()):
        users, items = train.histories()
        order = np.random.default_rng(0).permutation(len(users))
        again = TrainInteractions.from_tokens(
            train.user_tokens[users[order]], train.item_tokens[items[order]], _times(train)[order]
        )
        again = replace(again, content=train.content)
        require(_result(make(), train) == _result(make(), again), "two fits on the same pairs gave other results")


def a_batch_is_its_users_one_by_one(make: MakeTeacher) -> None:
    """A user's scores do not depend on the users around them, or on what was asked before."""
    train = _blocks()
    fitted = make().fit(train)
    users = np.random.default_rng(0).permutation(train.n_users)[:12]
    whole = _dense(fitted, users)
    for row, user in enumerate(users):
        alone = _dense(fitted, np.array([user]))[0]
        same = np.allclose(alone, whole[row], rtol=1e-4, atol=1e-5 * np.abs(whole[np.isfinite(whole)]).max())
        require(same, f"user {user} alone gets other scores than in a batch")


def names_candidates_that_nobody_observed(make: MakeTeacher) -> None:
    """What is read off its scores is unobserved, as for any teacher, and reading does not change the scores."""
    train = _blocks()
    fitted = make().fit(train)
    before = plain_copy(fitted.scores(np.arange(train.n_users)))
    found = top_candidates(fitted, train, _CANDIDATES)
    require(len(found) > 0, "there is not one candidate")
    seen = np.asarray(train.matrix[found.users, found.items]).ravel()
    require(not seen.any(), "an observed pair is a candidate")
    require(plain_copy(fitted.scores(np.arange(train.n_users))) == before, "reading candidates changed the scores")


def leaves_the_train_pairs_alone(make: MakeTeacher) -> None:
    """Nothing of the train pairs is written to, neither by fitting nor by scoring."""
    train = _blocks()
    before = plain_copy(train)
    make().fit(train).scores(np.arange(train.n_users))
    require(plain_copy(train) == before, "the train pairs were written to")


def is_fitted_where_pairs_are_hidden(make: MakeTeacher) -> None:
    """Items keep their ids where pairs are hidden, and one whose pairs are all hidden has a vector; users keep some."""
    train = _ragged()
    reduced = train.without(train.histories()[1] == int(np.argmax(train.item_tokens == _LONELY)))
    reduced, _ = hide_positives(reduced, 0.3, seed=0)
    fitted = make().fit(reduced)
    require(fitted.item_vectors.shape[0] == train.n_items, "an item without a pair has no vector")
    require(bool(np.isfinite(fitted.item_vectors).all()), "the vector of an item without a pair is not finite")
    values = _dense(fitted, np.arange(train.n_users))
    require(values.shape[1] == train.n_items, "an item without a pair has no place among the scores")
    require(bool((values < np.inf).all()), "an item without a pair makes scores NaN or +infinity")


def ranks_the_missing_items_of_blocks_first(make: MakeTeacher) -> None:
    """Where users have all items of their block but a few, these are their first candidates, of no other block."""
    train = _blocks()
    found = top_candidates(make().fit(train), train, _MISSING)
    block_of_user, block_of_item = block_of(train.user_tokens), block_of(train.item_tokens)
    own = block_of_user[found.users] == block_of_item[found.items]
    require(
        len(found) == _MISSING * train.n_users and bool(own.all()),
        f"{own.sum()} of the {_MISSING * train.n_users} missing items are the first candidates of users who have all "
        "others of the block",
    )


def inputs_tell_fits_apart(make: MakeTeacher) -> None:
    """`inputs` are plain data, and no setting changes what is fitted without changing them."""
    train = _blocks()
    require_inputs_tell_results_apart(make, lambda teacher: _result(teacher, train))


def sees_the_order_of_pairs_only_if_it_says_so(make: MakeTeacher) -> None:
    """What is kept is kept by the order where `reads_order` says so, and only then; without times there is none.

    A teacher that reads it says clearly that the data hold no times.
    """
    train = _blocks()
    if not make().reads_order:
        other = replace(train, times=-_times(train))
        require(
            _result(make(), train) == _result(make(), other),
            "other times give other results, and reads_order is False: an older result would be taken for this one",
        )
        return
    try:
        make().fit(replace(train, times=None, rows=None))
    except DTLNSError:
        return
    except Exception as error:
        raise ConformanceError(
            f"without times it raises {type(error).__name__}, not an error of recbole_dtlns.errors: {error}"
        ) from error
    raise ConformanceError("it says that it reads the order of pairs, and is fitted where there is none")


TEACHER_CHECKS: tuple[Callable[[MakeTeacher], None], ...] = (
    gives_scores_and_item_vectors,
    is_fitted_twice_alike,
    a_batch_is_its_users_one_by_one,
    names_candidates_that_nobody_observed,
    leaves_the_train_pairs_alone,
    is_fitted_where_pairs_are_hidden,
    ranks_the_missing_items_of_blocks_first,
    inputs_tell_fits_apart,
    sees_the_order_of_pairs_only_if_it_says_so,
)


def _blocks() -> TrainInteractions:
    train = block_interactions(blocks=_BLOCKS, missing=_MISSING)
    return _timed(replace(train, content=block_content(train)))


def _ragged() -> TrainInteractions:
    """Users with one item, with all items and with any number; an item that one user has, and one that all have.

    Some items say nothing.
    """
    random = np.random.default_rng(0)
    pairs = [("user-00", "item-00"), ("user-01", "item-00"), ("user-02", "item-00"), ("user-02", _LONELY)]
    pairs += [("with-all", f"item-{item:02d}") for item in range(25)]
    pairs += [
        (f"user-{user:02d}", f"item-{item:02d}")
        for user in range(3, 20)
        for item in {0, *random.integers(0, 25, random.integers(1, 12)).tolist()}
    ]
    users, items = zip(*pairs, strict=True)
    train = TrainInteractions.from_tokens(np.array(users), np.array(items))
    vectors = random.normal(size=(train.n_items, 4)).astype(np.float32)
    vectors[::5] = 0
    return _timed(replace(train, content=ItemContent.of_vectors(vectors)))


def _timed(train: TrainInteractions) -> TrainInteractions:
    """The same pairs, each at a time of its own, in no order."""
    times = np.random.default_rng(0).permutation(train.matrix.nnz).astype(np.float64)
    return replace(train, times=times)


def _times(train: TrainInteractions) -> np.ndarray:
    """Those of pairs that have some."""
    return np.zeros(train.matrix.nnz) if train.times is None else train.times


def _result(teacher: Teacher, train: TrainInteractions) -> Any:
    fitted = teacher.fit(train)
    return plain_copy((fitted.item_vectors, fitted.scores(np.arange(train.n_users))))


def _dense(fitted: FittedTeacher, users: np.ndarray) -> np.ndarray:
    """Scores [B, n_items]; what has no entry in sparse ones is -inf."""
    scores = fitted.scores(users)
    if not isinstance(scores, sp.csr_array):
        return scores
    dense = np.full(scores.shape, -np.inf)
    dense[scores.tocoo().coords] = scores.data
    return dense
