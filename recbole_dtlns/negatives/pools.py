"""Pools of candidates: which items may be drawn for a user, and how likely each is. None of them draws by rejection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from recbole_dtlns.errors import DataError
from recbole_dtlns.item_sets import PairSet
from recbole_dtlns.registry import Registry
from recbole_dtlns.tree.item_tree import ItemTree


class CandidatePool(Protocol):
    """Draws candidates."""

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """One item for every uniform number.

        Args:
            users: user ids [B].
            positives: the rows' positive items [B].
            uniform: independent numbers in [0, 1), [B, n]; all randomness of the draw.

        Returns:
            int64 item ids [B, n], never blocked, never 0.
        """
        ...


@dataclass(frozen=True)
class PoolContext:
    """What a pool is made from; all of it comes from the train split.

    Attributes:
        settings: the run's `dtlns_*` settings.
        blocked: pairs that may not be drawn (observed and forbidden), in ids 1..n_items-1.
        n_users, n_items: number of ids, the padding id 0 included.
        counts: how often each item occurs in train, int64 [n_items].
        structure, semantic: the item trees; None where nothing was prepared.
        tree_item: for every item id, its position in the trees or -1, int64 [n_items].
        listed: the pairs of `dtlns_pool_file`; None without.
    """

    settings: Any
    blocked: PairSet
    n_users: int
    n_items: int
    counts: np.ndarray
    structure: ItemTree | None = None
    semantic: ItemTree | None = None
    tree_item: np.ndarray | None = None
    listed: PairSet | None = None


class UniformPool:
    """Exact uniform draws over each user's unblocked items, in time that does not depend on how many are blocked.

    An item is drawn from all items, and where it is blocked, another one by its rank among the unblocked: of n items, f
    of them free, a free one then has the probability 1/n + (n - f)/n * 1/f = 1/f. What is left of the random number
    serves the second draw, so there is no loop.

    The rank: a user with blocked items b_0 < b_1 < ... has as r-th free item (r from 0)
    1 + r + (number of k with b_k - k - 1 <= r), found by one binary search over all users' b_k - k at once.

    Args:
        blocked: pairs that may not be drawn, in ids 1..n_items-1.
        n_users: number of user ids.
        n_items: number of item ids, the padding id 0 included.

    Raises:
        DataError: a user has every item blocked.
    """

    def __init__(self, blocked: PairSet, n_users: int, n_items: int) -> None:
        self._start = np.searchsorted(blocked.users, np.arange(n_users))
        counts = np.bincount(blocked.users, minlength=n_users)
        self.free = n_items - 1 - counts
        full = np.flatnonzero(self.free <= 0)
        if len(full):
            raise DataError(
                f"{len(full)} users (the first: id {full[0]}) have all {n_items - 1} items blocked, so nothing is left "
                "to draw as a negative; filter them with user_inter_num_interval"
            )
        self._stride = n_items
        order = np.arange(len(blocked)) - self._start[blocked.users]
        self._keys = blocked.users * self._stride + blocked.items - order - 1
        self._blocked_keys = blocked.users * self._stride + blocked.items
        self._filter = _KeyFilter(self._blocked_keys)

    @classmethod
    def from_context(cls, context: PoolContext) -> UniformPool:
        return cls(context.blocked, context.n_users, context.n_items)

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`; the positives do not matter."""
        users = np.asarray(users)
        point = uniform * (self._stride - 1)
        items = point.astype(np.int64)
        point -= items  # uniform again, and independent of the item
        items += 1
        rows, columns = self.blocked_places(users, items)
        again = users[rows]
        items[rows, columns] = self.nth_free(again, _below(point[rows, columns], self.free[again]))
        return items

    def blocked_places(self, users: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the items [B, n] that are blocked for the rows' users [B]."""
        found = self._filter.places_of((users * self._stride)[:, None] + items)
        return found // items.shape[1], found % items.shape[1]

    def nth_free(self, users: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """The rank-th (from 0) unblocked item of each user; arrays that broadcast against each other."""
        skipped = np.searchsorted(self._keys, users * self._stride + rank, side="right") - self._start[users]
        return 1 + rank + skipped

    def free_before(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """How many unblocked items of each user have a smaller id; arrays that broadcast against each other."""
        before = np.searchsorted(self._blocked_keys, users * self._stride + items) - self._start[users]
        return items - 1 - before


class PopularityPool:
    """Draws each unblocked item with probability proportional to max(count, 1) ** power.

    As for uniform draws, an item is drawn from all items (by Walker's alias method), and where it is blocked, another
    one by searching the cumulated weights of the unblocked. There weights are rounded to integers of a sum near
    2^62 / users, so that sums are exact and an item of small weight can still be drawn.

    Args:
        blocked, n_users, n_items: as for `UniformPool`.
        counts: how often each item occurs in train [n_items].
        power: 1 is popularity, 0 uniform; 0.75 is the value of word2vec (Mikolov et al., NIPS 2013).

    Attributes:
        probability: of every item where nothing is blocked [n_items].
    """

    def __init__(self, blocked: PairSet, n_users: int, n_items: int, counts: np.ndarray, power: float) -> None:
        self._uniform = UniformPool(blocked, n_users, n_items)  # raises where nothing is left
        weights = np.maximum(counts, 1).astype(np.float64) ** power
        weights[0] = 0
        scale = min(2.0**62 / (n_users + 1), 2.0**52) / weights.sum()
        mass = np.where(np.arange(n_items) > 0, np.maximum((weights * scale).astype(np.int64), 1), 0)
        self.probability = mass / mass.sum()
        self._own_share, self._alias = _alias_table(self.probability[1:])
        self._cumulated = np.cumsum(mass)
        self._stride = int(self._cumulated[-1]) + 1
        self._start = np.searchsorted(blocked.users, np.arange(n_users))
        blocked_mass = np.concatenate([[0], np.cumsum(mass[blocked.items])])
        end = np.append(self._start[1:], len(blocked))
        self._free = self._cumulated[-1] - (blocked_mass[end] - blocked_mass[self._start])
        # The mass of the user's unblocked items before each blocked one, and what to add to step over it.
        self._removed = blocked_mass
        before = self._cumulated[blocked.items] - mass[blocked.items]
        before -= blocked_mass[:-1] - blocked_mass[self._start[blocked.users]]
        self._keys = blocked.users * self._stride + before

    @classmethod
    def from_context(cls, context: PoolContext) -> PopularityPool:
        return cls(context.blocked, context.n_users, context.n_items, context.counts, context.settings.pool_power)

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`; the positives do not matter."""
        users = np.asarray(users)
        point = uniform * len(self._alias)
        place = point.astype(np.int64)
        point -= place
        share = self._own_share[place]
        other = point >= share
        items = np.where(other, self._alias[place], place) + 1
        rows, columns = self._uniform.blocked_places(users, items)
        if len(rows):
            point, share, other = point[rows, columns], share[rows, columns], other[rows, columns]
            left = np.where(other, (point - share) / np.maximum(1 - share, 1e-300), point / np.maximum(share, 1e-300))
            items[rows, columns] = self._free_item(users[rows], np.minimum(left, 1 - 2.0**-53))
        return items

    def _free_item(self, users: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        point = _below(uniform, self._free[users])
        passed = np.searchsorted(self._keys, users * self._stride + point, side="right")
        point = point + self._removed[passed] - self._removed[self._start[users]]
        return np.searchsorted(self._cumulated, point, side="right")


class ListPool:
    """Draws uniformly from a list of items per user; users without one draw from all their unblocked items.

    Args:
        listed: the lists; their blocked pairs are left out.
        blocked, n_users, n_items: as for `UniformPool`.
    """

    def __init__(self, listed: PairSet, blocked: PairSet, n_users: int, n_items: int) -> None:
        self._all = UniformPool(blocked, n_users, n_items)
        keys, taken = (pairs.users * n_items + pairs.items for pairs in (listed, blocked))
        kept = ~np.isin(keys, taken)
        self._items = listed.items[kept]
        self._counts = np.bincount(listed.users[kept], minlength=n_users)
        self._start = np.cumsum(self._counts) - self._counts

    @classmethod
    def from_context(cls, context: PoolContext) -> ListPool:
        if context.listed is None:
            raise DataError("dtlns_pool: file needs dtlns_pool_file, a table of user_id and item_id")
        return cls(context.listed, context.blocked, context.n_users, context.n_items)

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`; the positives do not matter."""
        users = np.asarray(users)
        drawn = np.empty(uniform.shape, dtype=np.int64)
        own = self._counts[users] > 0
        drawn[~own] = self._all.draw(users[~own], positives[~own], uniform[~own])
        listing = users[own][:, None]
        drawn[own] = self._items[self._start[listing] + _below(uniform[own], self._counts[listing])]
        return drawn


class SubtreePool:
    """Draws a share of the candidates from the subtrees around the positive, the rest uniformly.

    Uniform candidates rarely lie near the positive, so tree terms have little to choose from. In the order of a tree
    every subtree is a range of items, and a uniform draw from the unblocked items of a range is a draw of a rank.
    Where a subtree has nothing unblocked, the next larger one is used; the largest is the whole catalogue.

    Args:
        blocked, n_users, n_items: as for `UniformPool`.
        trees: the trees to draw from, in turns.
        tree_item: for every item id, its position in the trees or -1 [n_items].
        share: of the candidates that is drawn from subtrees.
        depths: of the subtrees, in turns: the number of leading codes shared with the positive.
    """

    def __init__(
        self,
        blocked: PairSet,
        n_users: int,
        n_items: int,
        trees: list[ItemTree],
        tree_item: np.ndarray,
        share: float,
        depths: list[int],
    ) -> None:
        self._uniform = UniformPool(blocked, n_users, n_items)
        orders = [_TreeOrder(blocked, n_users, n_items, tree, tree_item) for tree in trees]
        self._turns = [(order, depth) for depth in depths for order in orders]
        self.share = share

    @classmethod
    def from_context(cls, context: PoolContext) -> SubtreePool:
        settings = context.settings
        by_name = {"structure": context.structure, "semantic": context.semantic}
        chosen = by_name.values() if settings.pool_tree == "both" else [by_name[settings.pool_tree]]
        trees = [tree for tree in chosen if tree is not None]
        assert trees and context.tree_item is not None, "the settings ask for the preparation that makes the trees"
        return cls(
            context.blocked,
            context.n_users,
            context.n_items,
            trees,
            context.tree_item,
            settings.pool_tree_share,
            settings.pool_depths,
        )

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """As `CandidatePool.draw`. The columns from subtrees are the last ones."""
        users, positives = np.asarray(users), np.asarray(positives)
        n = uniform.shape[1]
        near = round(self.share * n)
        drawn = np.empty(uniform.shape, dtype=np.int64)
        drawn[:, : n - near] = self._uniform.draw(users, positives, uniform[:, : n - near])
        for turn, (order, depth) in enumerate(self._turns):
            columns = slice(n - near + turn, n, len(self._turns))
            drawn[:, columns] = order.draw(users, positives, uniform[:, columns], depth)
        return drawn


class _TreeOrder:
    """The items of one tree in the order of its leaves; items without a path come last."""

    def __init__(self, blocked: PairSet, n_users: int, n_items: int, tree: ItemTree, tree_item: np.ndarray) -> None:
        depth = tree.digits.shape[1]
        digits = np.where((tree_item >= 0)[:, None], tree.digits[np.maximum(tree_item, 0)], -1).astype(np.int64)
        digits[digits[:, 0] < 0] = np.iinfo(np.int16).max
        digits[0] = -2  # padding stays item 0
        self._item = np.lexsort(digits.T[::-1])  # by place
        place = np.empty(n_items, dtype=np.int64)
        place[self._item] = np.arange(n_items)
        self._place = place
        # First and last place of the subtree of every item at every depth, [n_items, depth + 1].
        ordered = digits[self._item]
        self._first = np.ones((n_items, depth + 1), dtype=np.int64)
        self._end = np.full((n_items, depth + 1), n_items, dtype=np.int64)
        begins = np.zeros(n_items, dtype=bool)
        begins[[0, min(1, n_items - 1)]] = True
        for level in range(depth):
            # Below its leaf an item's subtree stays its leaf: the digits there are all -1 and begin nothing new.
            begins[1:] |= ordered[1:, level] != ordered[:-1, level]
            starts = np.flatnonzero(begins)
            group = np.cumsum(begins) - 1
            self._first[self._item, level + 1] = starts[group]
            self._end[self._item, level + 1] = np.append(starts[1:], n_items)[group]
        without_path = digits[:, 0] == np.iinfo(np.int16).max
        self._first[without_path], self._end[without_path] = 1, n_items
        self._free = UniformPool(PairSet.of(blocked.users, place[blocked.items]), n_users, n_items)

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray, depth: int) -> np.ndarray:
        depths = np.arange(min(depth, self._first.shape[1] - 1) + 1)
        first = self._free.free_before(users[:, None], self._first[positives][:, depths])
        count = self._free.free_before(users[:, None], self._end[positives][:, depths]) - first
        deepest = (count > 0).shape[1] - 1 - (count > 0)[:, ::-1].argmax(axis=1)
        first, count = (np.take_along_axis(values, deepest[:, None], axis=1) for values in (first, count))
        return self._item[self._free.nth_free(users[:, None], first + _below(uniform, count))]


class _KeyFilter:
    """Finds the few keys that belong to a set: a table of bytes lets most of the others through at once."""

    _FACTOR = np.uint64(0x9E3779B97F4A7C15)

    def __init__(self, keys: np.ndarray) -> None:
        self._sorted = keys
        bits = max(10, (8 * len(keys)).bit_length())  # an eighth of the table is set at most
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(2**bits, dtype=bool)
        self._table[self._hash(keys)] = True

    def _hash(self, keys: np.ndarray) -> np.ndarray:
        return (keys.view(np.uint64) * self._FACTOR) >> self._shift

    def places_of(self, keys: np.ndarray) -> np.ndarray:
        """Positions in the flattened keys of those that belong to the set."""
        flat = keys.reshape(-1)
        suspects = np.flatnonzero(self._table[self._hash(flat)])
        if len(self._sorted) == 0:
            return suspects
        wanted = flat[suspects]
        place = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return suspects[self._sorted[place] == wanted]


def _alias_table(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of its own cell that each entry keeps, and who has the rest (Walker 1977, built as Vose 1991 does)."""
    n = len(probability)
    share, alias = probability * n, np.arange(n)
    small, large = list(np.flatnonzero(share < 1)), list(np.flatnonzero(share >= 1))
    while small and large:
        poor, rich = small.pop(), large[-1]
        alias[poor] = rich
        share[rich] -= 1 - share[poor]
        if share[rich] < 1:
            small.append(large.pop())
    share[small + large] = 1.0  # what rounding left over
    return share, alias


def _below(uniform: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Uniform integers in 0..count-1 from uniform numbers in [0, 1); rounding must not reach `count`."""
    return np.minimum((uniform * count).astype(np.int64), count - 1)


POOLS: Registry[CandidatePool] = Registry(
    "pool",
    "recbole_dtlns.pools",
    {
        "uniform": UniformPool.from_context,
        "popularity": PopularityPool.from_context,
        "tree": SubtreePool.from_context,
        "file": ListPool.from_context,
    },
)
PoolFactory = Callable[[PoolContext], CandidatePool]
