"""Is one model better than another, or better by more than a margin? Paired by user, corrected for all comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from recbole_dtlns.errors import ConfigError

TESTS = ("permutation", "wilcoxon")
_FLIPS = 9_999  # at least; and all that a test gets which is far from any level
_MOST_FLIPS = 999_999  # so that time is bounded; enough for 5,000 tests
_AT_ONCE = 2_000_000  # numbers in memory


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


@dataclass(frozen=True)
class MarginTest:
    """Whether the mean of a model is above that of another by more than a margin.

    Attributes:
        margin: relative to the baseline's mean: .1 asks for more than a tenth more, -.02 for a loss of less than 2 %.
        relative: mean of the model / mean of the baseline - 1; None where the latter is 0.
        low, high: percentile bootstrap interval of that change over users; None where samples of users have no such
            change, because the baseline serves next to nobody.
        p: one-sided probability of a mean so far above the margin if the true one were at most at it.
        p_holm: the same, corrected for all comparisons of a table; nan before `holm`.
    """

    margin: float
    relative: float | None
    low: float | None
    high: float | None
    p: float
    p_holm: float = float("nan")

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def flips_for(n_tests: int) -> int:
    """Random sign flips that each of so many tests needs.

    Holm's correction asks the smallest p to be below .01 / n_tests; where it is just that, twenty flips as extreme as
    what was found are expected.
    """
    return min(max(_FLIPS, 2_000 * n_tests - 1), _MOST_FLIPS)


def paired_test(
    model: np.ndarray,
    baseline: np.ndarray,
    test: Literal["permutation", "wilcoxon"] = "permutation",
    confidence: float = 0.95,
    resamples: int = 9_999,
    seed: int = 0,
    flips: int = _FLIPS,
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
        resamples: bootstrap samples of users.
        seed: of these and of the flips.
        flips: random sign flips at most (`flips_for`); where so few users differ that all can be tried, they are.

    Raises:
        ConfigError: the vectors differ in length, or there is no such test.
    """
    if test not in TESTS:
        raise ConfigError(f"unknown test '{test}'. Choices: {', '.join(TESTS)}")
    model, baseline = _known_to_both(model, baseline)
    difference = model - baseline
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
        p = _sign_flips(moved, flips, random, two_sided=True)
    means = _bootstrap_means(difference[None], resamples, random)[0]
    return PairedTest(mean, *_middle(means, confidence), p, *counts)


def margin_test(
    model: np.ndarray,
    baseline: np.ndarray,
    margin: float,
    confidence: float = 0.95,
    resamples: int = 9_999,
    seed: int = 0,
    flips: int = _FLIPS,
) -> MarginTest:
    """Test mean(model) <= (1 + margin) mean(baseline), which a small p rejects.

    The signs of model - (1 + margin) baseline are flipped, user by user, and the sums above the true one are counted.
    With a margin of 0 that is exact: if the models were exchangeable, each sign would be as likely as the other. With
    another margin nothing makes the differences symmetric (a user whom both models serve alike moves a little, one
    whom only one serves moves much), and the test is right in the limit of many users: the flips' sums have the
    variance of the differences about 0, which is that of their sum where the true mean is at the margin (Romano 1990,
    On the behavior of randomization tests without a group invariance assumption). Hundreds of users are many.

    Args:
        model, baseline, confidence, resamples, seed, flips: as for `paired_test`.
        margin: relative to the baseline's mean.

    Raises:
        ConfigError: the vectors differ in length.
    """
    model, baseline = _known_to_both(model, baseline)
    random = np.random.default_rng(seed)
    beyond = model - (1 + margin) * baseline
    moved = beyond[beyond != 0]
    p = _sign_flips(moved, flips, random, two_sided=False) if len(moved) > 1 else 1.0
    if not baseline.any():  # or nobody is left
        return MarginTest(margin, None, None, None, p)
    relative = float(model.mean() / baseline.mean() - 1)
    of_model, of_baseline = _bootstrap_means(np.stack([model, baseline]), resamples, random)
    if not of_baseline.all():
        return MarginTest(margin, relative, None, None, p)
    return MarginTest(margin, relative, *_middle(of_model / of_baseline - 1, confidence), p)


def _known_to_both(model: np.ndarray, baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if model.shape != baseline.shape:
        raise ConfigError(f"a paired test needs the same users: {model.shape} against {baseline.shape}")
    known = ~np.isnan(model + baseline)
    return model[known], baseline[known]


def _bootstrap_means(samples: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Means over users drawn with repetition, the same ones of all samples [n_samples, U]; [n_samples, resamples]."""
    users = samples.shape[1]
    means = np.empty((len(samples), resamples))
    for first in range(0, resamples, step := max(1, _AT_ONCE // users)):
        last = min(first + step, resamples)
        drawn = random.integers(0, users, (last - first, users))
        for mean, sample in zip(means, samples, strict=True):
            mean[first:last] = sample[drawn].mean(axis=1)
    return means


def _middle(values: np.ndarray, share: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def _sign_flips(moved: np.ndarray, flips: int, random: np.random.Generator, two_sided: bool) -> float:
    """Share of the sign flips whose sum is as extreme as the true one, which counts as one of them.

    Users without a difference add nothing to any flip, so they need not take part. After the first `_FLIPS` a test
    that is far from any level gets no more of them.
    """
    size = np.abs(moved)
    total, slack = float(moved.sum()), 1e-12 * float(size.sum())  # sums that differ by rounding alone are equal
    extreme = abs(total) - slack if two_sided else total - slack

    def count(sums: np.ndarray) -> int:
        return int(((np.abs(sums) if two_sided else sums) >= extreme).sum())

    if 2 ** len(moved) <= flips + 1:
        sums = np.zeros(1)
        for one in size:
            sums = np.concatenate([sums - one, sums + one])
        return count(sums) / len(sums)
    found = done = 0
    for stage in (min(flips, _FLIPS), flips):
        for sums in _random_sums(size, stage - done, random):
            found += count(sums)
        done = stage
        p = (found + 1) / (done + 1)
        if p > 0.1:
            break
    return p


def _random_sums(size: np.ndarray, n: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Sums of the sizes with random signs, n in all, in parts that fit into memory.

    A random byte gives eight users their signs: what these eight add is looked up, not computed.
    """
    padded = np.zeros(-(-len(size) // 8) * 8)
    padded[: len(size)] = size
    signs = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) * 2.0 - 1.0
    eights = padded.reshape(-1, 8) @ signs.T  # [groups of eight, 256]
    start = np.arange(len(eights)) * 256
    for first in range(0, n, step := max(1, _AT_ONCE // len(eights))):
        drawn = random.integers(0, 256, (min(step, n - first), len(eights)), dtype=np.uint8)
        yield eights.ravel()[start + drawn].sum(axis=1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): the chance of even one false finding among all stays below each threshold."""
    p = np.asarray(p_values)
    order = np.argsort(p)
    stepped = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    corrected = np.empty_like(stepped)
    corrected[order] = stepped
    return corrected.tolist()
