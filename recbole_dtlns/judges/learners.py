"""What a judge learns with: from features of pairs, and whether each was a hidden positive, to a probability."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recbole_dtlns.numerics.dense_algebra import one_thread
from recbole_dtlns.numerics.groups import places

LearnerName = Literal["logistic", "boosted", "mean", "auto"]
_FOLDS = 3
_MOST_NEGATIVES = 400_000
_TREES = (50, 150)
_RANKED = 20  # places that count when learners are compared


@dataclass(frozen=True)
class Examples:
    """Pairs whose answer is known.

    Attributes:
        features: float32 [n_pairs, n_features].
        answers: whether each is a hidden positive, bool [n_pairs].
        users: of the pairs, int [n_pairs].
        weight: what each counts, float64 [n_pairs]; None for ones.
    """

    features: np.ndarray
    answers: np.ndarray
    users: np.ndarray
    weight: np.ndarray | None = None

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.features.shape[1])

    def of(self, pairs: np.ndarray) -> Examples:
        """Some of the pairs: positions, or a mask."""
        weight = None if self.weight is None else self.weight[pairs]
        return Examples(self.features[pairs], self.answers[pairs], self.users[pairs], weight)

    def seeing(self, columns: np.ndarray) -> Examples:
        """The same pairs with some of the features alone."""
        return replace(self, features=self.features[:, columns])

    def thinned(self, seed: int) -> Examples:
        """All positives, and at most 400,000 of the others at random, which then count for those left out."""
        others = np.flatnonzero(~self.answers)
        if len(others) <= _MOST_NEGATIVES:
            return self
        kept = np.random.default_rng(seed).choice(others, _MOST_NEGATIVES, replace=False)
        pairs = np.sort(np.concatenate([np.flatnonzero(self.answers), kept]))
        few = self.of(pairs)
        return replace(few, weight=np.where(few.answers, 1.0, len(others) / _MOST_NEGATIVES))


class Learnt(Protocol):
    """What was learnt."""

    def probability(self, features: np.ndarray) -> np.ndarray:
        """Of every pair being a positive, float64 [n_pairs]."""
        ...


class Logistic:
    """Logistic regression on standardised features: it extrapolates with care."""

    @one_thread
    def __init__(self, examples: Examples) -> None:
        weights = {"logisticregression__sample_weight": examples.weight} if examples.weight is not None else {}
        fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
            _in_doubles(examples.features), examples.answers, **weights
        )
        self._scaler, regression = fitted.steps[0][1], fitted.steps[1][1]
        self._weights, self._offset = regression.coef_[0], regression.intercept_[0]

    def probability(self, features: np.ndarray) -> np.ndarray:
        standard = self._scaler.transform(_in_doubles(features))
        # Column by column: BLAS adds up a row's products in an order that depends on how many rows there are.
        decision = np.full(len(features), self._offset)
        for column, weight in enumerate(self._weights):
            decision += weight * standard[:, column]
        found: np.ndarray = expit(decision)
        return found


class Boosted:
    """Gradient-boosted trees: they find what only holds together."""

    def __init__(self, examples: Examples, trees: int, seed: int) -> None:
        self._trees = HistGradientBoostingClassifier(
            max_iter=trees,
            learning_rate=0.05,
            max_leaf_nodes=31,
            min_samples_leaf=min(200, max(2, int(examples.answers.sum()) // 10)),
            l2_regularization=1.0,
            early_stopping=False,
            random_state=seed,
        ).fit(examples.features, examples.answers, sample_weight=examples.weight)

    def probability(self, features: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._trees.predict_proba(features)[:, 1]
        return found

    def staged(self, features: np.ndarray) -> Iterator[np.ndarray]:
        """The same after the first tree, the second, and so on."""
        return (found[:, 1] for found in self._trees.staged_predict_proba(features))


class Mean:
    """The geometric mean of two opinions."""

    def __init__(self, first: Learnt, second: Learnt) -> None:
        self._both = first, second

    def probability(self, features: np.ndarray) -> np.ndarray:
        first, second = (one.probability(features) for one in self._both)
        return np.sqrt(first * second)


@dataclass(frozen=True)
class Choice:
    """A learner, and why it was chosen.

    Attributes:
        name: of the learner.
        trees: of the boosted ones; 0 where there are none.
        ndcg: of each learner that was tried, on users that it had not learnt from; empty where none was.
    """

    name: str
    trees: int
    ndcg: dict[str, float]


def chosen(examples: Examples, name: LearnerName, seed: int) -> Choice:
    """Which learner to take: the one that is named, or for `auto` the best by cross-validation over users.

    Learners are compared by how they rank the candidates of users that they did not learn from (NDCG@20 of the hidden
    positives). Where two are equal, the simpler one is taken.

    Args:
        examples: with hidden positives.
        name: as the settings have it.
        seed: of the folds.
    """
    if name == "logistic":
        return Choice("logistic", 0, {})
    if name != "auto":
        return Choice(name, _TREES[-1], {})
    totals: dict[tuple[str, int], float] = {}
    folds = list(held_out(examples, seed))
    for known, asked in folds:
        logistic = Logistic(known).probability(asked.features)
        found = {("logistic", 0): logistic}
        for trees, boosted in enumerate(Boosted(known, _TREES[-1], seed).staged(asked.features), start=1):
            if trees in _TREES:
                found |= {("boosted", trees): boosted, ("mean", trees): np.sqrt(logistic * boosted)}
        for learner, probability in found.items():
            totals[learner] = totals.get(learner, 0.0) + mean_ndcg(asked.users, probability, asked.answers)
    if not folds:
        return Choice("logistic", 0, {})
    best = max(totals, key=lambda learner: totals[learner])  # of equal ones the first: the simplest
    named = {
        f"{name} of {trees} trees" if trees else name: total / len(folds) for (name, trees), total in totals.items()
    }
    return Choice(*best, named)


def held_out(examples: Examples, seed: int) -> Iterator[tuple[Examples, Examples]]:
    """For each of three folds of users, the examples of all others, to learn from, and its own, to be asked about.

    A fold that has no positive, or leaves none or nothing else to learn from, is left out.

    Args:
        examples: with hidden positives.
        seed: of the folds.
    """
    fold = np.random.default_rng(seed).integers(_FOLDS, size=int(examples.users.max()) + 1)[examples.users]
    for held in range(_FOLDS):
        known, asked = examples.of(fold != held), examples.of(fold == held)
        if known.answers.any() and not known.answers.all() and asked.answers.any():
            yield known, asked


def learnt(examples: Examples, choice: Choice, seed: int) -> Learnt:
    """Fit the chosen learner on all examples."""
    makers: dict[str, Callable[[], Learnt]] = {
        "logistic": lambda: Logistic(examples),
        "boosted": lambda: Boosted(examples, choice.trees, seed),
        "mean": lambda: Mean(Logistic(examples), Boosted(examples, choice.trees, seed)),
    }
    return makers[choice.name]()


def mean_ndcg(users: np.ndarray, scores: np.ndarray, answers: np.ndarray, k: int = _RANKED) -> float:
    """Mean of `ndcg_by_user`; 0 where nobody has a positive."""
    found = ndcg_by_user(users, scores, answers, k)
    return float(found.mean()) if len(found) else 0.0


def ndcg_by_user(users: np.ndarray, scores: np.ndarray, answers: np.ndarray, k: int = _RANKED) -> np.ndarray:
    """NDCG@k of every user with a positive among the candidates, ascending by user, float64 [n].

    Args:
        users: of the pairs [n_pairs].
        scores: of the pairs; equal ones rank in the order given.
        answers: which are positives, bool.
    """
    order = np.lexsort((-scores, users))
    users, hit = users[order], answers[order]
    place = places(users)
    gain = np.where(hit & (place < k), 1 / np.log2(place + 2.0), 0.0)
    found = np.bincount(users, weights=gain)
    wanted = np.minimum(np.bincount(users, weights=hit).astype(int), k)
    ideal = np.append(0.0, np.cumsum(1 / np.log2(np.arange(k) + 2.0)))[wanted]
    having = wanted > 0
    ratio: np.ndarray = found[having] / ideal[having]
    return ratio


def _in_doubles(features: np.ndarray) -> np.ndarray:
    """The regression computes in its input's precision; its single-precision coefficients depend on the processor."""
    return features.astype(np.float64)
