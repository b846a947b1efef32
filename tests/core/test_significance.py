"""Oracle and property: paired tests find differences that are there, in the right direction, and none that are not."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from scipy import stats

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.evaluation.significance import TESTS, MarginTest, flips_for, holm, margin_test, paired_test


def noisy(shift: float, users: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A model that is better than the baseline by `shift` for the mean user."""
    random = np.random.default_rng(seed)
    baseline = random.random(users)
    return baseline + shift + random.normal(0, 0.1, users), baseline


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("shift", [0.05, -0.05])
def test_a_difference_that_is_there_is_found_in_its_direction(test: str, shift: float) -> None:
    model, baseline = noisy(shift)
    found = paired_test(model, baseline, test)
    assert found.p < 0.001
    assert np.sign(found.difference) == np.sign(found.low) == np.sign(found.high) == np.sign(shift)
    assert (found.wins > found.losses) == (shift > 0)


@pytest.mark.parametrize("test", TESTS)
def test_a_worse_model_is_not_called_better(test: str) -> None:
    """The error of one-sided tests on the wrong side: here both sides count, whichever model comes first."""
    model, baseline = noisy(-0.05)
    ours, mirrored = paired_test(model, baseline, test), paired_test(baseline, model, test)
    assert ours.difference == pytest.approx(-mirrored.difference)
    assert ours.difference < 0 < mirrored.difference
    assert (ours.wins, ours.losses) == (mirrored.losses, mirrored.wins)
    assert max(ours.p, mirrored.p) < 0.001


@pytest.mark.parametrize("test", TESTS)
def test_the_level_is_kept_where_nothing_differs(test: str) -> None:
    """Of 200 comparisons of equals, about a twentieth are below .05."""
    p = [paired_test(*noisy(0.0, users=60, seed=seed), test, resamples=399).p for seed in range(200)]
    assert 2 <= sum(value < 0.05 for value in p) <= 20


def test_the_permutation_test_is_exact_where_all_flips_can_be_tried() -> None:
    """Five users, all better: 2 of 32 sign patterns are as extreme."""
    model = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    assert paired_test(model, np.zeros(5)).p == pytest.approx(2 / 32)


def test_random_flips_find_the_probability_that_all_flips_have() -> None:
    """Sixteen users: 65,536 sign patterns, tried one by one or drawn."""
    model = np.linspace(-0.9, 2.1, 16)
    exact = paired_test(model, np.zeros(16), flips=2**16 - 1).p
    expected = stats.permutation_test((model,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert exact == pytest.approx(expected)
    assert 0.005 < exact < 0.05
    drawn = paired_test(model, np.zeros(16), flips=2**16 - 2).p
    assert drawn == pytest.approx(exact, rel=0.15) and drawn != exact


@pytest.mark.parametrize("unit", [1 / 3, 1e9 / 3, 1e-9 / 3])
def test_sums_that_differ_by_rounding_alone_are_equal(unit: float) -> None:
    """Differences are often multiples of one number, so that many sums are equal; in integers they are so exactly."""
    steps = np.array([5, 4, -3, 3, 2, 2, 1, -1, 1, 1])
    sums = np.array(list(product([-1, 1], repeat=len(steps)))) @ steps
    assert paired_test(steps * unit, np.zeros(10)).p == (np.abs(sums) >= steps.sum()).mean()
    assert margin_test(steps * unit, np.zeros(10), 0.0).p == (sums >= steps.sum()).mean()


@pytest.mark.parametrize("users", [20, 3_200])
def test_gains_and_losses_that_cancel_prove_nothing(users: int) -> None:
    """Every flip is as extreme, and is counted once, be they drawn at once or in parts."""
    assert paired_test(np.tile([0.5, -0.5], users // 2), np.zeros(users)).p == 1.0


def test_every_user_is_flipped_once() -> None:
    """No other signs give so large a sum as all gains: of 9,999 flips none, unless one user's gain is taken twice."""
    gains = np.array([100.0] * 8 + [1.0] * 16)
    assert paired_test(gains, np.zeros(24)).p == paired_test(gains[::-1], np.zeros(24)).p == 1e-4


def test_eight_users_have_all_256_signs() -> None:
    """What the other eight add is too little to matter: two of 256 sign patterns are as extreme."""
    gains = np.array([1.0] * 8 + [-1e-6] * 8)
    assert paired_test(gains, np.zeros(16), flips=65_000).p == pytest.approx(2 / 256, rel=0.15)


@pytest.mark.parametrize("n_tests", [1, 40, 51, 300, 2_000])
def test_a_clear_difference_keeps_two_stars_however_many_tests_there_are(n_tests: int) -> None:
    smallest = 1 / (flips_for(n_tests) + 1)
    assert holm([smallest] * n_tests)[0] < 0.01 / 2
    assert flips_for(n_tests) < 1_000_000


@pytest.mark.parametrize("n_tests", [5, 51, 500])
def test_twenty_flips_are_expected_to_reach_the_smallest_level_of_a_table(n_tests: int) -> None:
    """At p = .01 / n_tests; the true signs are one of the flips counted."""
    assert 0.01 / n_tests * (flips_for(n_tests) + 1) == pytest.approx(20, rel=1e-9)


def test_more_flips_make_a_smaller_probability_possible() -> None:
    model, baseline = noisy(0.05)
    assert [paired_test(model, baseline, flips=flips).p for flips in (9_999, 99_999)] == [1e-4, 1e-5]


def test_a_test_that_is_far_from_any_level_gets_no_more_flips() -> None:
    few, many = (paired_test(*noisy(0.001), flips=flips).p for flips in (9_999, 99_999))
    assert few == many > 0.1


def hits(rate: float, served: np.ndarray, seed: int) -> np.ndarray:
    """A metric that is 0 for most users and 1 for some, as recall is: far from symmetric differences."""
    random = np.random.default_rng(seed)
    return np.where(random.random(len(served)) < 0.5, served, random.random(len(served)) < rate).astype(float)


def pair_of(gain: float, seed: int, users: int = 2_000) -> tuple[np.ndarray, np.ndarray]:
    """Model and baseline; the former's mean is by `gain` above the latter's, in truth."""
    served = np.random.default_rng(seed).random(users) < 0.2
    return hits(0.2 * (1 + 2 * gain), served, 1_000 + seed), served.astype(float)


def test_a_gain_above_the_margin_is_told_from_one_below_it() -> None:
    model, baseline = pair_of(0.3, seed=0, users=6_000)
    above, within = margin_test(model, baseline, 0.1), margin_test(model, baseline, 0.4)
    assert above.p < 0.001 and within.p > 0.5
    assert above.relative == within.relative == pytest.approx(model.mean() / baseline.mean() - 1)
    assert above.low is not None and above.high is not None
    assert 0.15 < above.low < 0.3 < above.high < 0.4


def test_a_gain_of_just_the_margin_is_not_called_more() -> None:
    """In truth 20 % more, tested against 20 %: about a twentieth are below .05, though no difference is symmetric."""
    p = [margin_test(*pair_of(0.2, seed), 0.2, resamples=1).p for seed in range(200)]
    assert 2 <= sum(value < 0.05 for value in p) <= 20
    plain = [margin_test(*pair_of(0.2, seed), 0.0, resamples=1).p for seed in range(20)]
    assert max(plain) < 0.05, "which the test against no gain would not have told"


def test_the_margins_interval_covers_the_true_change_about_as_often_as_it_says() -> None:
    found = [margin_test(*pair_of(0.2, seed, 500), 0.0, 0.9, resamples=299, flips=1) for seed in range(200)]
    assert 165 <= sum(one.low <= 0.2 <= one.high for one in found) <= 193  # type: ignore[operator]


def test_a_change_of_nothing_is_no_percentage() -> None:
    """The p needs no percentage: it is that of two users, or of two of thirty."""
    assert margin_test(np.array([0.0, 1.0, 1.0]), np.zeros(3), 0.1) == MarginTest(0.1, None, None, None, 1 / 4)
    rare = np.zeros(30)
    rare[0] = 0.5  # one sample of users in three has no such user
    model = rare * 1.5
    model[1] = 0.25
    expected = MarginTest(0.1, pytest.approx(1.0), None, None, 1 / 4)
    assert margin_test(model, rare, 0.1, resamples=99) == expected


@pytest.mark.parametrize(
    ("gains", "p"), [([], 1.0), ([0.2], 1.0), ([0.2, 0.1], 1 / 4), ([0.2, -0.1], 1 / 2), ([-0.2, -0.1], 1.0)]
)
def test_a_margin_is_tested_on_one_side(gains: list[float], p: float) -> None:
    """Of the four sign patterns of two users; one user, who may go either way, proves nothing."""
    baseline = np.full(4, 0.5)
    model = baseline + np.pad(gains, (0, 4 - len(gains)))
    assert margin_test(model, baseline, 0.0, resamples=9).p == p


def test_wilcoxon_is_scipys() -> None:
    model, baseline = noisy(0.01)
    expected = stats.wilcoxon(model, baseline, zero_method="pratt").pvalue
    assert paired_test(model, baseline, "wilcoxon").p == pytest.approx(expected)


def test_users_without_a_difference_take_part_in_ranks_as_pratt_has_it() -> None:
    """They are ranked with the others, which dropping them would not do."""
    model = np.array([0.0] * 6 + [0.1, 0.2, -0.3, 0.4, 0.5, 0.6, -0.7, 0.8, 0.9])
    expected = stats.wilcoxon(model, zero_method="pratt").pvalue
    assert paired_test(model, np.zeros(15), "wilcoxon").p == pytest.approx(expected)
    assert expected != pytest.approx(stats.wilcoxon(model, zero_method="wilcox").pvalue)


@pytest.mark.parametrize("test", TESTS)
def test_the_seed_repeats_the_interval_and_the_flips(test: str) -> None:
    model, baseline = noisy(0.004)
    first, again, other = (paired_test(model, baseline, test, resamples=199, seed=seed) for seed in (1, 1, 2))
    assert (first.low, first.high, first.p) == (again.low, again.high, again.p)
    assert (first.low, first.high) != (other.low, other.high)


def test_the_seed_repeats_the_test_against_a_margin() -> None:
    first, again, other = (margin_test(*noisy(0.0545), 0.1, resamples=199, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high) and first.p != other.p


@pytest.mark.parametrize("step", [1, -1], ids=["last", "first"])
def test_the_interval_is_that_of_percentiles(step: int) -> None:
    """Of means over users drawn with repetition; other intervals lie elsewhere where a few users gain much, be they the
    first or the last."""
    random = np.random.default_rng(0)
    difference = np.append(random.normal(0, 0.1, 37), [3.0, 4.0, 5.0])[::step]
    found = paired_test(difference, np.zeros(40), confidence=0.9)
    means = difference[random.integers(0, 40, (20_000, 40))].mean(axis=1)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.05, 0.95]), abs=0.02)


@pytest.mark.parametrize(("second", "p"), [(0.2, 0.5), (-0.2, 1.0)])
def test_two_users_are_tested(second: float, p: float) -> None:
    """Of four sign patterns two are as extreme where both gain, and all are where one loses as much."""
    model = np.array([0.2, second, 0.0])
    assert paired_test(model, np.zeros(3)).p == pytest.approx(p)


def test_no_user_at_all_differs_by_nothing() -> None:
    unknown = np.full(3, np.nan)
    found = paired_test(unknown, np.ones(3))
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    assert (found.wins, found.ties, found.losses) == (0, 0, 0)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        found = paired_test(*noisy(0.02, users=80, seed=seed), confidence=0.9, resamples=399)
        covered += found.low <= 0.02 <= found.high
    assert 165 <= covered <= 193


def test_users_without_a_value_are_left_out_and_ties_are_counted() -> None:
    found = paired_test(np.array([1.0, 0.5, np.nan, 0.2]), np.array([0.0, 0.5, 0.1, 0.4]))
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)
    assert found.difference == pytest.approx(0.8 / 3)


def test_what_was_found_is_plain_data() -> None:
    model, baseline = noisy(0.05)
    found, margin = paired_test(model, baseline, resamples=99), margin_test(model, baseline, 0.1, resamples=99)
    assert found.plain()["difference"] == found.difference and margin.plain()["margin"] == 0.1
    assert "p_holm" in json.dumps([found.plain(), margin.plain()])


def test_equal_models_differ_by_nothing() -> None:
    values = np.arange(10.0)
    found = paired_test(values, values)
    assert (found.p, found.difference, found.ties) == (1.0, 0.0, 10)


def test_one_user_proves_nothing() -> None:
    found = paired_test(np.array([0.3, 0.5, 0.1]), np.array([0.3, 0.2, 0.1]))
    assert found.p == 1.0
    assert (found.low, found.high) == (0.0, found.difference)
    assert found.difference == pytest.approx(0.1)
    worse = paired_test(np.array([0.3, 0.2]), np.array([0.3, 0.5]))
    assert (worse.low, worse.high, worse.p) == (worse.difference, 0.0, 1.0)
    assert (found.wins, found.ties, found.losses) == (1, 2, 0)


def test_holm_is_the_textbooks() -> None:
    """Holm 1979: .01 x 4, .02 x 3, .03 x 2 (not below the one before), .04 x 1 (likewise)."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.9, 0.8, 0.7]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ConfigError, match="same users"):
        paired_test(np.zeros(3), np.zeros(4))
    with pytest.raises(ConfigError, match="permutation, wilcoxon"):
        paired_test(np.zeros(3), np.ones(3), "t")  # type: ignore[arg-type]
