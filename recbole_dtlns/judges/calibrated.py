"""A judge that learns, without an LLM, what a false negative looks like: from train positives hidden on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.judges.contract import Judge, Label, Question, Rehearsal, Verdicts
from recbole_dtlns.judges.features import pair_features
from recbole_dtlns.numerics.dense_algebra import one_thread


class CalibratedJudge(Judge):
    """Logistic regression on pair features, fitted where the answer is known, applied to the real candidates.

    A share of every user's train pairs is hidden; teacher, trees and candidates are made without them; the candidates
    that are hidden pairs are the positive examples. So the probability reads: how likely is it that this
    candidate is a positive that the train split happens to lack? It is calibrated to the hidden share, and small.

    Trees that were given, and may know the hidden pairs, are not looked at: learnt from, they would promise too much.
    Trees made of the train pairs stand in for them.
    """

    class Config(ComponentConfig):
        """Settings of the judge; what is hidden is the rehearsal's."""

        prefix = "judge_"

        lift: float = Field(1.0, ge=0)
        """A pair is positive from this multiple of the mean probability."""

    config: Config
    version = 4
    rehearses = True

    def inputs(self) -> dict[str, Any]:
        return {"judge": "calibrated", "lift": self.config.lift}

    def judge(self, question: Question) -> Verdicts:
        """Verdicts for all candidates.

        Raises:
            ConfigError: there is no rehearsal to learn from (with a checkpoint as teacher, or a file of candidates).
            DataError: no hidden pair is among its candidates.
        """
        rehearsal = question.rehearsal
        if rehearsal is None:
            raise ConfigError(
                "the calibrated judge trains the teacher again without some pairs, which neither a checkpoint nor a "
                "file of candidates allows"
            )
        verdicts = self.apply(self.fit(rehearsal), rehearsal.actual)
        if not rehearsal.trees_not_read:
            return verdicts
        return replace(verdicts, facts={"trees_not_read": list(rehearsal.trees_not_read)})

    def fit(self, rehearsal: Rehearsal) -> Pipeline:
        """Learn from hidden positives; raises as `judge` does."""
        answers = rehearsal.answers()
        if not answers.any():
            raise DataError(
                f"none of {len(rehearsal.hidden)} hidden positives is among the teacher's candidates: raise "
                "dtlns_candidates, or choose a better teacher"
            )
        return _fitted(pair_features(rehearsal.question), answers)

    def apply(self, classifier: Pipeline, question: Question) -> Verdicts:
        """The verdicts of what `fit` returned."""
        if len(question.candidates) == 0:
            return Verdicts(np.empty(0, np.float32), np.empty(0, np.int8))
        probability = _applied(classifier, pair_features(question))
        label = np.where(probability >= self.config.lift * probability.mean(), Label.POSITIVE, Label.NEGATIVE)
        return Verdicts(probability.astype(np.float32), label.astype(np.int8))

    def remark(self, facts: Mapping[str, Any]) -> str:
        if "trees_not_read" not in facts:
            return ""
        return (
            f"it looked at trees of its own, not at the given ones ({' and '.join(facts['trees_not_read'])}), which "
            "may know the pairs that it learns from (else: dtlns_paths_know_train: False)"
        )


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
