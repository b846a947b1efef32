"""Is one model better than another? Paired by user, two-sided, corrected for the number of comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from recbole_dtlns.errors import ConfigError

TESTS = ("permutation", "wilcoxon")


@dataclass(frozen=True)
class PairedTest:
    """One metric of one model against that of another on the same users.

    Attributes:
        difference: mean over users of model - baseline.
        low, high: percentile bootstrap interval of that mean over users.
        p: two-sided probability of so large a difference if the two were exchangeable.
        p_holm: the same, corrected for all comparisons of a table; nan before `holm`.
        wins, ties, losses: users for whom the model is better, equal, worse.
    """

    difference: float
    low: float
    high: float
    p: float
    wins: int
    ties: int
    losses: int
    p_holm: float = float("nan")

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def paired_test(
    model: np.ndarray,
    baseline: np.ndarray,
    test: Literal["permutation", "wilcoxon"] = "permutation",
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> PairedTest:
    """Compare two vectors of a metric by user.

    The permutation test flips the signs of the users' differences, which asks about the mean itself; the Wilcoxon
    signed-rank test (SciPy, zero differences split as Pratt has it) asks about their ranks. RecBole's own script tests
    one side, and the wrong one.

    Args:
        model, baseline: the metric of every user, in the same order [U]; users without a value (nan) in either are left
            out.
        test: permutation or wilcoxon.
        confidence: of the bootstrap interval.
        resamples: random sign flips, and bootstrap samples of users.
        seed: of both.

    Raises:
        ConfigError: the vectors differ in length, or there is no such test.
    """
    if model.shape != baseline.shape:
        raise ConfigError(f"a paired test needs the same users: {model.shape} against {baseline.shape}")
    if test not in TESTS:
        raise ConfigError(f"unknown test '{test}'. Choices: {', '.join(TESTS)}")
    difference = (model - baseline)[~np.isnan(model - baseline)]
    moved = difference[difference != 0]
    random = np.random.default_rng(seed)
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    mean = float(difference.mean()) if len(difference) else 0.0
    counts = (wins, len(difference) - wins - losses, losses)
    if len(moved) < 2:  # one user may go either way
        return PairedTest(mean, min(mean, 0.0), max(mean, 0.0), 1.0, *counts)
    if test == "wilcoxon":
        p = float(stats.wilcoxon(difference, zero_method="pratt").pvalue)
    else:
        p = _sign_flips(moved, resamples, random)
    low, high = stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        batch=max(1, 2_000_000 // len(difference)),
        rng=random,
    ).confidence_interval
    return PairedTest(mean, float(low), float(high), p, *counts)


def _sign_flips(moved: np.ndarray, resamples: int, random: np.random.Generator) -> float:
    """Users without a difference add nothing to any flip, so they need not take part."""
    found = stats.permutation_test(
        (moved,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // len(moved)),
        rng=random,
        alternative="two-sided",
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): the chance of even one false finding among all stays below each threshold."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    corrected = np.empty_like(stepped)
    corrected[order] = stepped
    return corrected.tolist()
