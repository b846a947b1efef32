"""A judge that learns, without an LLM, what a false negative looks like: from train positives hidden on purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.judges.contract import Label, Question, Verdicts
from recbole_dtlns.judges.features import pair_features
from recbole_dtlns.numerics.dense_algebra import one_thread


class CalibratedJudge:
    """Logistic regression on pair features, fitted where the answer is known, applied to the real candidates.

    A share of every user's train pairs is hidden; teacher, trees and candidates are made without them; the candidates
    that are hidden pairs are the positive examples. So the probability reads: how likely is it that this
    candidate is a positive that the train split happens to lack? It is calibrated to the hidden share, and small.

    Trees that were given, and may know the hidden pairs, are not looked at: learnt from, they would promise too much.
    Trees made of the train pairs stand in for them.

    Args:
        hide: share of each user's pairs to hide, in (0, 1).
        lift: a pair is labelled positive when its probability is at least this many times the mean.
        seed: of the choice of hidden pairs.
    """

    version = 4
    keeps_verdicts = False

    def __init__(self, hide: float, lift: float, seed: int) -> None:
        self.hide = hide
        self.lift = lift
        self.seed = seed

    @classmethod
    def from_settings(cls, settings: Any) -> CalibratedJudge:
        return cls(settings.judge_hide, settings.judge_lift, settings.seed)

    def inputs(self) -> dict[str, Any]:
        return {"judge": "calibrated", "hide": self.hide, "lift": self.lift, "seed": self.seed}

    def judge(self, question: Question) -> Verdicts:
        """Verdicts for all candidates; raises as `fit` does."""
        return self.apply(self.fit(question), question)

    def fit(self, question: Question) -> Pipeline:
        """Learn from hidden positives.

        Raises:
            ConfigError: the question cannot be made anew (from a checkpoint as teacher, or a file of candidates).
            DataError: no hidden pair is among the candidates.
        """
        if question.reask is None:
            raise ConfigError(
                "the calibrated judge trains the teacher again without some pairs, which neither a checkpoint nor a "
                "file of candidates allows"
            )
        reduced, hidden = hide_positives(question.train, self.hide, self.seed)
        known = question.reask(reduced)
        answers = np.isin(known.pair_keys(), hidden)
        if not answers.any():
            raise DataError(
                f"none of {len(hidden)} hidden positives is among the teacher's candidates: raise dtlns_candidates, or "
                "choose a better teacher"
            )
        return _fitted(pair_features(known), answers)

    def apply(self, classifier: Pipeline, question: Question) -> Verdicts:
        """The verdicts of what `fit` returned."""
        probability = _applied(classifier, pair_features(question.on_own_trees()))
        label = np.where(probability >= self.lift * probability.mean(), Label.POSITIVE, Label.NEGATIVE)
        facts = {"trees_not_read": list(question.given)} if question.given else {}
        return Verdicts(probability.astype(np.float32), label.astype(np.int8), facts=facts)


@one_thread
def _fitted(features: np.ndarray, answers: np.ndarray) -> Pipeline:
    # Linear on purpose: with pairs hidden all counts are smaller, and curved models extrapolate badly from there.
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(_in_doubles(features), answers)


@one_thread
def _applied(classifier: Pipeline, features: np.ndarray) -> np.ndarray:
    """Probability of every pair [n_pairs]."""
    return classifier.predict_proba(_in_doubles(features))[:, 1]


def _in_doubles(features: np.ndarray) -> np.ndarray:
    """The regression computes in its input's precision; its single-precision coefficients depend on the processor."""
    return features.astype(np.float64)
