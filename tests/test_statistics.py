from __future__ import annotations

import numpy as np
import pytest

from tuner.statistics import (
    Interval,
    fewest_groups,
    fewest_samples,
    grouped_interval,
    is_above,
    log_ratios,
    mean_interval,
    median,
    median_error,
    median_interval,
    paired_ratio,
    percentile,
    sign_test,
    spread,
)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth, covered, runs = 1.05, 0, 300
    for run in range(runs):
        drift = np.exp(rng.normal(0, 0.5, 60))
        reference, seconds = drift * np.exp(rng.normal(0, 0.02, 60)), drift * np.exp(rng.normal(0, 0.02, 60)) / truth
        ratio = paired_ratio(reference.tolist(), seconds.tolist(), seed=run)
        covered += ratio.low <= truth <= ratio.high
    assert 0.90 <= covered / runs <= 0.99


def test_drift_that_hits_both_sides_cancels() -> None:
    drift = np.linspace(1, 10, 50)
    ratio = paired_ratio((2 * drift).tolist(), drift.tolist())
    assert ratio.value == pytest.approx(2)
    assert ratio.low == pytest.approx(2)
    assert ratio.high == pytest.approx(2)


def test_one_interrupted_call_does_not_move_the_ratio() -> None:
    assert paired_ratio([1.0] * 14 + [50.0], [1.0] * 15).value == 1


def test_the_same_samples_and_seed_give_the_same_interval() -> None:
    samples = np.random.default_rng(0).uniform(1, 2, (2, 40)).tolist()
    assert paired_ratio(*samples, seed=3) == paired_ratio(*samples, seed=3)


def test_more_confidence_is_a_wider_interval() -> None:
    samples = np.random.default_rng(0).uniform(1, 2, (2, 40)).tolist()
    narrow, wide = paired_ratio(*samples, confidence=0.5), paired_ratio(*samples, confidence=0.99)
    assert wide.low < narrow.low <= narrow.value <= narrow.high < wide.high


@pytest.mark.parametrize(("top", "bottom"), [([1.0], [1.0, 2.0]), ([], []), ([0.0], [1.0]), ([1.0], [-1.0])])
def test_bad_pairs_are_refused(top: list[float], bottom: list[float]) -> None:
    with pytest.raises(ValueError, match=r"pairs need|positive"):
        log_ratios(top, bottom)


def test_confidence_must_be_a_level() -> None:
    with pytest.raises(ValueError, match="confidence=1"):
        paired_ratio([1.0], [1.0], confidence=1)


def test_median_and_percentile() -> None:
    assert median([3.0, 1.0, 2.0]) == 2
    assert percentile([0.0, 10.0], 90) == 9
    with pytest.raises(ValueError, match="at least one"):
        median([])


def test_the_spread_is_the_standard_deviation_whatever_a_few_samples_do() -> None:
    samples = np.random.default_rng(3).normal(5.0, 0.2, 2000).tolist()
    assert spread(samples) == pytest.approx(0.2, rel=0.06)
    assert spread([*samples, *[1e9] * 20]) == pytest.approx(0.2, rel=0.08)
    assert median_error(samples) == pytest.approx(1.2533 * spread(samples) / 2000**0.5)
    assert spread([4.0]) == 0
    with pytest.raises(ValueError, match="at least one"):
        spread([])


def test_the_median_is_in_all_intervals_at_once_as_often_as_they_say() -> None:
    """Whoever looks after every sample, and waits for an interval that misses, waits in vain 95 times of 100."""
    rng = np.random.default_rng(0)
    missed, runs = 0, 200
    for _ in range(runs):
        samples = rng.standard_exponential(120).tolist()
        intervals = [median_interval(samples[:count], 0.05) for count in range(1, 121)]
        missed += any(not one.low <= np.log(2) <= one.high for one in intervals)
    assert 0 < missed <= 0.05 * runs


def test_an_interval_of_one_look_would_miss_more_often_than_it_says() -> None:
    """What `median_interval` is for: the bootstrap's interval holds once, not at every look."""
    rng = np.random.default_rng(1)
    missed, runs = 0, 60
    for _ in range(runs):
        samples = np.exp(rng.normal(0, 0.02, 100))
        looks = [paired_ratio(samples[:n].tolist(), [1.0] * n, resamples=300) for n in range(10, 101, 5)]
        missed += any(not one.low <= 1 <= one.high for one in looks)
    assert missed > 0.1 * runs


def test_the_median_of_all_groups_is_missed_as_seldom_as_the_interval_says() -> None:
    """Samples of a group share an offset, of a distribution that is nothing like normal."""
    rng = np.random.default_rng(6)
    missed, runs = 0, 2000
    for _ in range(runs):
        offsets = rng.standard_exponential(12) - np.log(2)
        samples = np.repeat(offsets, 5) + rng.normal(0, 0.01, 60)
        interval = grouped_interval(samples.tolist(), np.repeat(np.arange(12), 5).tolist(), 0.05)
        missed += not interval.low <= 0 <= interval.high
    # With 12 groups the interval between the third and the third last would miss in 3.9 %.
    assert 0.02 * runs < missed <= 0.05 * runs


def test_too_few_groups_have_no_interval() -> None:
    fewest = fewest_groups(0.01)
    groups = list(range(fewest))
    assert grouped_interval([1.0] * fewest, groups, 0.01) == Interval(1.0, 1.0)
    assert not np.isfinite(grouped_interval([1.0] * (fewest - 1), groups[:-1], 0.01).half_width)
    with pytest.raises(ValueError, match="zip"):
        grouped_interval([1.0], [0, 1], 0.01)
    with pytest.raises(ValueError, match="error=2"):
        grouped_interval([1.0], [0], 2)


def test_more_samples_narrow_the_interval() -> None:
    samples = np.random.default_rng(0).standard_normal(400).tolist()
    widths = [median_interval(samples[:count], 0.01).half_width for count in (13, 50, 100, 400)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.25


def test_too_few_samples_have_no_interval() -> None:
    fewest = fewest_samples(0.01)
    assert not np.isfinite(median_interval([1.0] * (fewest - 1), 0.01).half_width)
    assert median_interval([1.0] * fewest, 0.01) == Interval(1.0, 1.0)


def test_what_is_not_above_is_seldom_called_above_at_any_look() -> None:
    rng = np.random.default_rng(2)
    called, runs = 0, 400
    for _ in range(runs):
        samples = rng.standard_normal(60).tolist()
        called += any(is_above(samples[:count], 0.0, 0.05) for count in range(1, 61))
    assert 0 < called <= 0.05 * runs


def test_what_is_above_is_found_even_if_not_every_sample_is() -> None:
    samples = np.random.default_rng(3).normal(1.0, 1.0, 60).tolist()
    assert any(sample < 0 for sample in samples)
    assert is_above(samples, 0.0, 0.01)
    assert not is_above(samples, 1.1, 0.01)


def test_the_sign_test_agrees_with_the_interval() -> None:
    """Equality is in the interval at 1 % as long as the p-value is above 1 %."""
    samples = np.random.default_rng(4).normal(0.4, 1.0, 150).tolist()
    for count in range(13, 151):
        interval = median_interval(samples[:count], 0.01)
        assert (sign_test(samples[:count]) > 0.01) == (interval.low <= 0 <= interval.high), count
    assert sign_test([0.0, 0.0, 1.0, -1.0]) == 1


def test_a_p_value_of_one_percent_is_seen_at_no_look_more_often_than_that() -> None:
    rng = np.random.default_rng(5)
    runs = 400
    seen = sum(
        any(sign_test(samples[:count]) <= 0.05 for count in range(1, 80))
        for samples in (rng.standard_normal(80).tolist() for _ in range(runs))
    )
    assert 0 < seen <= 0.05 * runs


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_error_must_be_a_chance(error: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        median_interval([1.0], error)


def test_a_mean_over_groups_is_as_uncertain_as_groups_differ() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(center, 0.01, 20).tolist() for center in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)]
    whole = mean_interval(groups)
    assert whole.low < 2.0
    assert whole.high > 3.0
    assert whole == mean_interval(groups)
    one = mean_interval(groups[:1])
    assert one.half_width < 0.01
    assert one.low < np.mean(groups[0]) < one.high


def test_intervals_of_means_hold_in_about_the_share_they_claim() -> None:
    """Of a bootstrap over ten groups some percent are missed beside the 5 % that it claims."""
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(200):
        groups = [rng.normal(center, 1.0, 5).tolist() for center in rng.normal(0.0, 1.0, 10)]
        interval = mean_interval(groups, resamples=300, seed=seed)
        held += interval.low <= 0 <= interval.high
    assert held >= 170


@pytest.mark.parametrize("groups", [[], [[]], [[1.0], [1.0, 2.0]]])
def test_groups_that_have_no_mean(groups: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="not of one number"):
        mean_interval(groups)


def test_a_confidence_that_is_none() -> None:
    with pytest.raises(ValueError, match="confidence=1"):
        mean_interval([[1.0]], confidence=1)
