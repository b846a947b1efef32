"""Hard negatives that were generated before training: for every train pair a vector in the space of what items say.

They are addressed by (user, item) in canonical ids. None of them need be in memory whole: a pair's vector is that of an
item that was matched to it, the sum of a part of its user and a part of its item, or a row of a mapped file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import PairSet

_NOISE_ROWS = 65_536
_DEALS = 32


class GeneratedNegatives(Protocol):
    """Vectors of hard negatives, each made for a train pair.

    Attributes:
        train: the train pairs that they were made for.
        dimension: length of a vector.
    """

    @property
    def train(self) -> TrainInteractions: ...

    @property
    def dimension(self) -> int: ...

    def of(self, users: np.ndarray, items: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The vectors of some pairs.

        Args:
            users, items: canonical ids [B]; -1 for what is not in train.
            uniform: in [0, 1) [B]: which it is, where a pair has several.

        Returns:
            vectors, float32 [B, d], and whether the pair has one, bool [B]; those without are zeros.
        """
        ...

    def shuffled(self, seed: int, false_negatives: PairSet) -> Self:
        """Every pair has what was made for another: a control.

        Args:
            seed: of the deal.
            false_negatives: pairs that the judge called so. Where the negatives are items, a user is dealt none of
                these and none that is observed; vectors cannot be judged, and are dealt as they come.
        """
        ...

    def problem(self) -> str:
        """What is wrong with them, in words; empty where nothing is."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Counts for the summary."""
        ...


@dataclass(frozen=True, eq=False)
class MatchedItems:
    """Real items, each an unobserved one of the pair's user.

    Attributes:
        train: the train pairs.
        items: canonical ids in the order of `train.histories`, int32 [n_pairs, k]; -1 where there is none.
        vectors: of all items, float [n_items, d].
    """

    train: TrainInteractions
    items: np.ndarray
    vectors: np.ndarray

    @property
    def dimension(self) -> int:
        return int(self.vectors.shape[1])

    @cached_property
    def counts(self) -> np.ndarray:
        """Items of every pair, int64 [n_pairs]; they stand before the places without one."""
        found: np.ndarray = (self.items >= 0).sum(axis=1)
        return found

    def of(self, users: np.ndarray, items: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place = self.train.places(users, items)
        count = self.counts[place] * (place >= 0)
        column = np.minimum((uniform * count).astype(np.int64), np.maximum(count - 1, 0))
        known = count > 0
        matched = np.where(known, self.items[place, column], 0)
        return self.vectors[matched].astype(np.float32) * known[:, None], known

    def shuffled(self, seed: int, false_negatives: PairSet) -> Self:
        random = np.random.default_rng(seed)
        items = self.items[random.permutation(len(self.items))]
        return replace(self, items=_free_items(items, self.train, false_negatives, random))

    def problem(self) -> str:
        if self.items.ndim != 2 or len(self.items) != self.train.matrix.nnz or self.items.dtype.kind != "i":
            return f"items of the shape {self.items.shape} for {self.train.matrix.nnz} train pairs"
        if len(self.vectors) != self.train.n_items or not np.isfinite(self.vectors).all():
            return "vectors that are not finite, or not one for each item"
        if self.items.size and not -1 <= self.items.min() <= self.items.max() < self.train.n_items:
            return "ids that are none of the train items"
        if ((self.items[:, :-1] < 0) & (self.items[:, 1:] >= 0)).any():
            return "an item after a place without one"
        return ""

    def facts(self) -> Mapping[str, Any]:
        named = self.items[self.items >= 0]
        return {"pairs_with": int((self.counts > 0).sum()), "different_items": len(np.unique(named))}


@dataclass(frozen=True, eq=False)
class JoinedVectors:
    """The sum of a part of the user and a part of the item, so that every train pair has one.

    Attributes:
        train: the train pairs.
        of_users, of_items: the parts, float [n_users, d] and [n_items, d].
    """

    train: TrainInteractions
    of_users: np.ndarray
    of_items: np.ndarray

    @property
    def dimension(self) -> int:
        return int(self.of_users.shape[1])

    def of(self, users: np.ndarray, items: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known = self.train.places(users, items) >= 0  # others would have a sum too, and nothing was made for them
        joined = self.of_users[users].astype(np.float32) + self.of_items[items].astype(np.float32)
        return joined * known[:, None], known

    def shuffled(self, seed: int, false_negatives: PairSet) -> Self:
        random = np.random.default_rng(seed)
        of_users, of_items = (part[random.permutation(len(part))] for part in (self.of_users, self.of_items))
        return replace(self, of_users=of_users, of_items=of_items)

    def problem(self) -> str:
        shapes = (self.of_users.shape, self.of_items.shape)
        due = ((self.train.n_users, self.dimension), (self.train.n_items, self.dimension))
        finite = np.isfinite(self.of_users).all() and np.isfinite(self.of_items).all()
        return "" if shapes == due and finite else f"parts of the shapes {shapes}, or not finite"

    def facts(self) -> Mapping[str, Any]:
        return {"pairs_with": int(self.train.matrix.nnz)}


@dataclass(frozen=True, eq=False)
class VectorsByPair:
    """A row of a table for every pair; the table may be a mapped file (`numpy.load(mmap_mode="r")`).

    Attributes:
        train: the train pairs.
        table: float [m, d].
        rows: of the table, in the order of `train.histories`, int64 [n_pairs]; -1 where a pair has none.
    """

    train: TrainInteractions
    table: np.ndarray
    rows: np.ndarray

    @property
    def dimension(self) -> int:
        return int(self.table.shape[1])

    def of(self, users: np.ndarray, items: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place = self.train.places(users, items)
        row = np.where(place >= 0, self.rows[place], -1)
        known = row >= 0
        vectors = np.zeros((len(row), self.dimension), dtype=np.float32)
        vectors[known] = self.table[row[known]]
        return vectors, known

    def shuffled(self, seed: int, false_negatives: PairSet) -> Self:
        return replace(self, rows=self.rows[np.random.default_rng(seed).permutation(len(self.rows))])

    def problem(self) -> str:
        if self.table.ndim != 2 or self.rows.shape != (self.train.matrix.nnz,):
            return f"{self.rows.shape} rows of a table of the shape {self.table.shape} for the train pairs"
        if len(self.rows) and not -1 <= self.rows.min() <= self.rows.max() < len(self.table):
            return "rows that the table does not have"
        return ""

    def facts(self) -> Mapping[str, Any]:
        return {"pairs_with": int((self.rows >= 0).sum())}


def noise(generated: GeneratedNegatives, seed: int) -> VectorsByPair:
    """Random vectors in place of those that were made, for the same pairs: a control that knows nothing."""
    train = generated.train
    users, items = train.histories()
    random = np.random.default_rng(seed)
    table = random.standard_normal((min(_NOISE_ROWS, max(len(users), 1)), generated.dimension)).astype(np.float16)
    known = np.concatenate(
        [
            generated.of(users[part], items[part], np.zeros(len(users[part])))[1]
            for part in (slice(start, start + _NOISE_ROWS) for start in range(0, len(users), _NOISE_ROWS))
        ]
    )
    return VectorsByPair(train, table, np.where(known, np.arange(len(users)) % len(table), -1))


def _free_items(
    items: np.ndarray, train: TrainInteractions, false_negatives: PairSet, random: np.random.Generator
) -> np.ndarray:
    """Items dealt to train pairs [n_pairs, k], without those that are observed or false negatives of the pair's user.

    In their place stands an entry drawn from all of `items`, so that popular items stay popular, and none is twice in
    a row. What no draw could replace is dropped: -1, after the items that stay.
    """
    users, width = train.histories()[0], np.int64(train.n_items)
    keys = np.sort(np.concatenate([train.pair_keys, false_negatives.users * width + false_negatives.items]))
    dealt, pool = items.copy(), items[items >= 0]

    def blocked(row: np.ndarray, item: np.ndarray) -> np.ndarray:
        key = users[row] * width + item
        found: np.ndarray = keys[np.minimum(np.searchsorted(keys, key), len(keys) - 1)] == key
        return found

    row, column = np.nonzero(dealt >= 0)
    left = blocked(row, dealt[row, column])
    for _ in range(_DEALS):
        row, column = row[left], column[left]
        drawn = random.choice(pool, len(row))
        dealt[row, column] = drawn
        left = blocked(row, drawn) | ((dealt[row] == drawn[:, None]).sum(axis=1) > 1)
    dealt[row[left], column[left]] = -1
    found: np.ndarray = np.take_along_axis(dealt, np.argsort(dealt < 0, axis=1, kind="stable"), axis=1)
    return found
