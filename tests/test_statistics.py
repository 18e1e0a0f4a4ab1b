from __future__ import annotations

import numpy as np
import pytest

from tuner.statistics import log_ratios, median, paired_ratio, percentile


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
