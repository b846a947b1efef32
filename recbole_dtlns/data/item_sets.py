"""The three item sets of a user, as types that are never mixed.

=================  =====================================  ===============================
type               what it is                             what it may influence
=================  =====================================  ===============================
`Observed`         pairs of the data set's splits         the evaluation mask; negatives
`PseudoPositives`  candidates relabelled as positives     training rows, training graph
`Forbidden`        candidates never drawn as negatives    the training sampler
`JudgedPairs`      candidates with their probability      weights in the training loss
=================  =====================================  ===============================

Only `Observed` may mask evaluation: masking the others removes known misses from the ranking and
lifts every metric of every model (this is how the published evaluation of DTL-NS is inflated).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np

from recbole_dtlns.numerics.groups import in_order


@dataclass(frozen=True)
class PairSet:
    """A set of (user, item) pairs: int64 arrays [n], ordered by user then item, without repeats."""

    users: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, users: np.ndarray, items: np.ndarray) -> Self:
        """Order the pairs and drop repeats."""
        users, items = np.asarray(users, dtype=np.int64), np.asarray(items, dtype=np.int64)
        if len(users) == 0:
            return cls(users, items)
        width = int(items.max()) + 1
        keys = np.sort(users * width + items)  # np.unique hashes integers, which takes far longer
        keys = keys[np.append(True, keys[1:] != keys[:-1])]
        return cls(keys // width, keys % width)

    @classmethod
    def none(cls) -> Self:
        """No pair."""
        return cls.of(np.array([]), np.array([]))

    def __len__(self) -> int:
        return len(self.users)

    def mapped(self, users: np.ndarray, items: np.ndarray) -> Self:
        """The same pairs under other ids: of users [n_users] and of items [n_items]."""
        return type(self).of(users[self.users], items[self.items])

    def where(self, kept: np.ndarray) -> Self:
        """Some of the pairs, bool [n]."""
        return type(self)(self.users[kept], self.items[kept])

    @property
    def digest(self) -> str:
        """SHA-256 over the pairs."""
        return hashlib.sha256(self.users.tobytes() + self.items.tobytes()).hexdigest()

    def union(self, other: PairSet) -> PairSet:
        """The pairs of both sets."""
        return PairSet.of(np.concatenate([self.users, other.users]), np.concatenate([self.items, other.items]))


@dataclass(frozen=True)
class Observed(PairSet):
    """Pairs that the data set holds; the only set that masks evaluation."""


@dataclass(frozen=True)
class PseudoPositives(PairSet):
    """Unobserved pairs trained as positives; they never mask evaluation.

    Attributes:
        place: of each among its user's pseudo-positives, 0 for the best, int64 [n].
        weight: of each as a training row, where an observed one weighs 1, float64 [n].
    """

    place: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(
        cls,
        users: np.ndarray,
        items: np.ndarray,
        place: np.ndarray | None = None,
        weight: np.ndarray | None = None,
    ) -> Self:
        """Order the pairs, which do not repeat; without places, all are the best, without weights, all weigh 1."""
        order = np.lexsort((items, users))
        place = np.zeros(len(order), dtype=np.int64) if place is None else place
        weight = np.ones(len(order)) if weight is None else weight
        return cls(
            users[order].astype(np.int64),
            items[order].astype(np.int64),
            place[order].astype(np.int64),
            weight[order].astype(np.float64),
        )

    def mapped(self, users: np.ndarray, items: np.ndarray) -> Self:
        return type(self).of(users[self.users], items[self.items], self.place, self.weight)

    def where(self, kept: np.ndarray) -> Self:
        return type(self)(self.users[kept], self.items[kept], self.place[kept], self.weight[kept])


@dataclass(frozen=True)
class Forbidden(PairSet):
    """Unobserved pairs never drawn as negatives in training; they never mask evaluation."""


@dataclass(frozen=True)
class JudgedPairs:
    """Unobserved pairs with the probability of being a false negative; they never mask evaluation.

    Attributes:
        users, items: int64 arrays [n], ordered by user then item, without repeats.
        probability: float32 [n].
    """

    users: np.ndarray
    items: np.ndarray
    probability: np.ndarray

    @classmethod
    def of(cls, users: np.ndarray, items: np.ndarray, probability: np.ndarray) -> Self:
        """Order the pairs, which do not repeat."""
        found = cls(np.empty(len(users), np.int64), np.empty(len(users), np.int64), np.empty_like(probability))
        for block, order in in_order(users, items):
            found.users[block], found.items[block] = users[order], items[order]
            found.probability[block] = probability[order]
        return found

    def mapped(self, users: np.ndarray, items: np.ndarray) -> Self:
        """The same pairs under other ids: of users [n_users] and of items [n_items]."""
        return type(self).of(users[self.users], items[self.items], self.probability)

    def __len__(self) -> int:
        return len(self.users)
