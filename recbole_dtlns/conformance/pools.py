"""What every pool of candidates must hold to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recbole_dtlns.conformance.given_trees import ITEMS, USERS, random_trees, tree_item
from recbole_dtlns.conformance.rules import require
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.negatives.pools.contract import CandidatePool, PoolContext
from recbole_dtlns.numerics.counter_random import counter_uniform

MakePool = Callable[[], CandidatePool]


def draws_only_what_is_free(make: MakePool) -> None:
    """Items are int64 [B, n], never blocked, never the padding, whatever the numbers."""
    context = _pool_context()
    pool = _begun_pool(make, context)
    users = np.repeat(np.arange(1, USERS), 4)
    positives = _positives(context.blocked, users)
    uniform = counter_uniform(0, 0, np.arange(len(users)), 50)
    uniform[:, 0], uniform[:, 1] = 0.0, 1 - 2.0**-53
    drawn = pool.draw(users, positives, uniform)
    require(drawn.dtype == np.int64, f"draw gave {drawn.dtype}, not int64")
    require(drawn.shape == uniform.shape, f"draw gave the shape {drawn.shape}, not [B, n]")
    require(bool(((drawn > 0) & (drawn < ITEMS)).all()), "draw gave the padding, or an id that no item has")
    blocked = context.blocked.users * ITEMS + context.blocked.items
    require(not np.isin(users[:, None] * ITEMS + drawn, blocked).any(), "a blocked item was drawn")


def the_same_numbers_draw_the_same_items(make: MakePool) -> None:
    """All randomness comes from the numbers given, row by row, so draws do not depend on batches or workers."""
    context = _pool_context()
    users = np.arange(1, USERS)
    positives = _positives(context.blocked, users)
    uniform = counter_uniform(3, 0, users, 7)
    whole = _begun_pool(make, context).draw(users, positives, uniform)
    pool = _begun_pool(make, context)
    for row in range(len(users)):
        alone = pool.draw(users[row : row + 1], positives[row : row + 1], uniform[row : row + 1])
        require(bool((alone[0] == whole[row]).all()), f"row {row} of a batch alone draws other items")


POOL_CHECKS: tuple[Callable[[MakePool], None], ...] = (draws_only_what_is_free, the_same_numbers_draw_the_same_items)


def _pool_context() -> PoolContext:
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(1, USERS), random.integers(1, ITEMS - 2, USERS - 1))
    blocked = PairSet.of(users, random.integers(1, ITEMS, len(users)))
    counts = np.bincount(blocked.items, minlength=ITEMS)
    trees = random_trees()
    listed = PairSet.of(random.integers(1, USERS, 200), random.integers(1, ITEMS, 200))
    return PoolContext(blocked, USERS, ITEMS, counts, trees, tree_item(), lambda _: listed)


def _begun_pool(make: MakePool, context: PoolContext) -> CandidatePool:
    pool = make()
    pool.begin(context)
    return pool


def _positives(blocked: PairSet, users: np.ndarray) -> np.ndarray:
    """Some observed item of every user."""
    return blocked.items[np.searchsorted(blocked.users, users)]
