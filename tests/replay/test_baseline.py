from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.replay.baseline import Baseline

FAILED = math.inf
SPACES = [
    [1.0, 2.0, 4.0, 8.0, FAILED],
    [3.0, 1.0, 1.0, FAILED, FAILED, 2.0],
    [5.0],
]


def curves(seconds: list[float]) -> list[list[float]]:
    """Return the best so far of every order in which the configs can be drawn."""
    return [np.minimum.accumulate(order).tolist() for order in permutations(seconds)]


@pytest.mark.parametrize("seconds", SPACES)
def test_it_is_the_mean_over_all_orders_of_drawing(seconds: list[float]) -> None:
    worst = max(time for time in seconds if math.isfinite(time))
    mean = np.minimum(curves(seconds), worst).mean(axis=0)
    assert Baseline(seconds).expected(100) == pytest.approx(mean)
    fractions = (min(seconds) / np.array(curves(seconds))).mean(axis=0)
    counts = list(range(1, len(seconds) + 1))
    assert Baseline(seconds).expected_fractions([*counts, 100]) == pytest.approx([*fractions, fractions[-1]])


@pytest.mark.parametrize("seconds", SPACES[:2])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_random_search_scores_nothing_in_the_mean(seconds: list[float], count: int) -> None:
    baseline = Baseline(seconds)
    assert np.mean([baseline.score(curve[:count]) for curve in curves(seconds)]) == pytest.approx(0.0, abs=1e-12)


@given(st.lists(st.one_of(st.floats(1e-6, 1e3), st.just(FAILED)), min_size=1, max_size=60), st.integers(1, 80))
def test_the_optimum_at_once_scores_one_and_nothing_scores_more(seconds: list[float], count: int) -> None:
    if not any(map(math.isfinite, seconds)):
        seconds = [*seconds, 1.0]
    baseline = Baseline(seconds)
    assert baseline.score([baseline.optimum] * count) == pytest.approx(1.0)
    assert baseline.score([FAILED] * count) <= baseline.score([baseline.worst] * count) <= 1.0 + 1e-9
    expected = baseline.expected(count)
    assert np.all(np.diff(expected) <= 1e-9 * baseline.worst)
    assert np.all(expected >= baseline.optimum * (1 - 1e-9))


def test_what_is_asked_first_does_not_matter() -> None:
    baseline = Baseline(SPACES[0])
    short = baseline.expected(2)
    assert baseline.expected(4)[:2] == pytest.approx(short)
    assert len(baseline.expected(3)) == 3


def test_the_budget_ends_near_the_optimum() -> None:
    """Of 1, 2, ..., 100 the median is 50.5: 95 % of the way to 1 are at 3.475, and t draws reach 101 / (t + 1)."""
    baseline = Baseline([float(i) for i in range(1, 101)])
    assert baseline.cutoff == math.ceil(101 / 3.475 - 1)
    assert baseline.budget(10) == 10
    assert baseline.budget(200) == baseline.cutoff
    early = [baseline.optimum] * baseline.cutoff
    assert baseline.score([*early, 1e9]) == pytest.approx(1.0)


def test_a_large_space_is_no_trouble() -> None:
    baseline = Baseline(np.arange(1, 100_001, dtype=float).tolist())
    assert baseline.expected(3) == pytest.approx([100_001 / 2, 100_001 / 3, 100_001 / 4])


def test_a_space_without_a_result() -> None:
    with pytest.raises(ValueError, match="every config failed"):
        Baseline([FAILED])
