"""Ranked lists of items, and metrics of every user.

Metrics by user are what a paired test needs; RecBole gives only their means. The definitions are RecBole's, so the mean
over users is RecBole's number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ConfigError, DataError


@dataclass(frozen=True)
class Rankings:
    """The items recommended to some users, best first.

    Attributes:
        users: distinct user ids, int64 [U].
        items: item ids, int64 [U, depth]; -1 past the end of a list.
        scores: of the items, float32 [U, depth]; -inf past the end.
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray

    def without(self, removed: PairSet, depth: int) -> Rankings:
        """The lists as if the removed pairs had been masked, cut at a depth.

        Raises:
            DataError: some list was not recorded deep enough for that.
        """
        gone = self.hits(removed) | (self.items < 0)
        ended = (self.items < 0).any(axis=1)
        if ((~gone).sum(axis=1)[~ended] < depth).any():
            raise DataError(f"lists of {self.items.shape[1]} items are too short to remove pairs and keep {depth}")
        order = np.argsort(gone, axis=1, kind="stable")[:, :depth]
        rows = np.arange(len(self.users))[:, None]
        left = gone[rows, order]
        items = np.where(left, -1, self.items[rows, order])
        return Rankings(self.users, items, np.where(left, -np.inf, self.scores[rows, order]).astype(np.float32))

    def hits(self, pairs: PairSet) -> np.ndarray:
        """Which recommendations are in a set of pairs, bool [U, depth]."""
        shown, asked = self._keys(pairs)
        return np.isin(shown, asked) & (self.items >= 0)

    def found(self, pairs: PairSet) -> np.ndarray:
        """Which pairs are recommended, bool [n_pairs]."""
        shown, asked = self._keys(pairs)
        return np.isin(asked, shown[self.items >= 0])

    def places(self, pairs: PairSet) -> np.ndarray:
        """Where each pair stands in its user's list, from 1 on; 0 where it does not, int64 [n_pairs]."""
        shown, asked = self._keys(pairs)
        listed = self.items >= 0
        keys, place = shown[listed], np.nonzero(listed)[1] + 1
        order = np.argsort(keys)
        at = np.minimum(np.searchsorted(keys, asked, sorter=order), max(len(keys) - 1, 0))
        if len(keys) == 0:
            return np.zeros(len(asked), dtype=np.int64)
        return np.where(keys[order[at]] == asked, place[order[at]], 0)

    def metrics(self, truth: PairSet, names: Sequence[str], ks: Sequence[int]) -> dict[str, np.ndarray]:
        """Metrics of every user.

        Args:
            truth: the pairs to find; users who have none get nan.
            names: out of `METRICS`, in any case.
            ks: lengths of list, at most the depth.

        Returns:
            by "name@k", lower case, float64 [U].
        """
        hits = self.hits(truth)
        known = np.isin(truth.users, self.users)
        place = np.searchsorted(self.users, truth.users[known], sorter=(order := np.argsort(self.users)))
        wanted = np.bincount(order[place], minlength=len(self.users))
        return {
            f"{name.lower()}@{k}": np.where(wanted > 0, _metric(name)(hits[:, :k], np.maximum(wanted, 1)), np.nan)
            for name in names
            for k in ks
        }

    def _keys(self, pairs: PairSet) -> tuple[np.ndarray, np.ndarray]:
        """One number for every recommendation and for every pair, equal for equal pairs."""
        width = int(max(self.items.max(initial=0), pairs.items.max(initial=0))) + 1
        return self.users[:, None] * width + self.items, pairs.users * width + pairs.items


def _recall(hits: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return hits.sum(axis=1) / wanted


def _precision(hits: np.ndarray, _wanted: np.ndarray) -> np.ndarray:
    return hits.mean(axis=1)


def _hit(hits: np.ndarray, _wanted: np.ndarray) -> np.ndarray:
    return np.asarray(hits.any(axis=1))


def _mrr(hits: np.ndarray, _wanted: np.ndarray) -> np.ndarray:
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1.0), 0.0)


def _ndcg(hits: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    discount = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    best = np.cumsum(discount)
    return hits @ discount / best[np.minimum(wanted, hits.shape[1]) - 1]


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "recall": _recall,
    "ndcg": _ndcg,
    "hit": _hit,
    "mrr": _mrr,
    "precision": _precision,
}


def _metric(name: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    if name.lower() not in METRICS:
        raise ConfigError(f"no metric by user is known as '{name}'. Choices: {', '.join(METRICS)}")
    return METRICS[name.lower()]


@dataclass(frozen=True)
class Spread:
    """How recommendations spread over the catalogue.

    Attributes:
        coverage: share of the items that are recommended to somebody.
        gini: of the recommendations over all items; 0: all equally often, 1: one item only.
        popularity: mean train count of a recommended item.
    """

    coverage: float
    gini: float
    popularity: float

    @classmethod
    def of(cls, rankings: Rankings, train_counts: np.ndarray, items: np.ndarray) -> Spread:
        """Of whole lists.

        Args:
            rankings: cut at the depth in question.
            train_counts: train pairs of every item id [n_items].
            items: ids that could be recommended.
        """
        shown = rankings.items[rankings.items >= 0]
        times = np.sort(np.bincount(shown, minlength=len(train_counts))[items])
        place = np.arange(1, len(times) + 1)
        gini = float((2 * place - len(times) - 1) @ times / (len(times) * max(times.sum(), 1)))
        return cls(float((times > 0).mean()), gini, float(train_counts[shown].mean()) if len(shown) else 0.0)


def equal_groups(values: np.ndarray, n_groups: int) -> np.ndarray:
    """Groups of nearly equal size in order of a value, int64 like `values`; equal values are never parted."""
    cuts = np.quantile(values, np.linspace(0, 1, n_groups + 1)[1:-1], method="inverted_cdf") if len(values) else []
    return np.searchsorted(np.unique(cuts), values, side="left")
