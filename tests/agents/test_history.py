from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.agents.history import CONFIG_FEATURES, SEARCH_FEATURES, Histories

CARDS = np.array([[4, 3, 5]])
ORDERED = np.array([[True, False, True]])


def told(trials: list[tuple[tuple[int, ...], float]], *, padding: int = 0, scale: float = 1.0) -> Histories:
    histories = Histories(1, 3 + padding, 8)
    pad = ((0, 0), (0, padding))
    histories.restart([0], cards=np.pad(CARDS, pad), ordered=np.pad(ORDERED, pad), sizes=[60], budgets=[40])
    for row, log in trials:
        histories.add([0], np.array([[*row, *[0] * padding]]), np.array([log + np.log(scale)]))
    return histories


rows = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 4))
# Scores that are equal but for rounding would be ranked by it.
logs = st.one_of(st.integers(-300, 300).map(lambda log: log / 100), st.just(np.nan))
trials = st.lists(st.tuples(rows, logs), max_size=30, unique_by=(lambda trial: trial[0], lambda trial: trial[1]))
configs = st.lists(rows, min_size=1, max_size=5)


@settings(deadline=None)
@given(trials, configs, st.integers(1, 4), st.floats(1e-6, 1e6))
def test_neither_scale_nor_absent_parameters_matter(
    done: list[tuple[tuple[int, ...], float]], asked: list[tuple[int, ...]], padding: int, scale: float
) -> None:
    """Whether times are seconds or days, and whether others have more parameters, is not seen."""
    plain, other = told(done), told(done, padding=padding, scale=scale)
    rows = np.array([asked])
    np.testing.assert_allclose(
        plain.describe(rows), other.describe(np.pad(rows, ((0, 0), (0, 0), (0, padding)))), atol=2e-3
    )
    np.testing.assert_allclose(plain.overview(), other.overview(), atol=2e-3)


@settings(deadline=None)
@given(trials, configs)
def test_every_number_is_finite_and_small(
    done: list[tuple[tuple[int, ...], float]], asked: list[tuple[int, ...]]
) -> None:
    histories = told(done)
    for numbers in (histories.describe(np.array([asked])), histories.overview()):
        assert np.isfinite(numbers).all()
        assert (np.abs(numbers) <= 4).all()


def feature(histories: Histories, row: tuple[int, ...], name: str) -> float:
    return float(histories.describe(np.array([[row]]))[0, 0, CONFIG_FEATURES.index(name)])


def test_what_the_numbers_say() -> None:
    histories = told([((0, 0, 0), 1.0), ((3, 0, 0), 0.0), ((0, 1, 4), 2.0), ((1, 2, 2), np.nan)])
    assert feature(histories, (3, 1, 0), "best_changed") == pytest.approx(1 / 3)
    assert feature(histories, (0, 0, 0), "best_distance") == pytest.approx(1 / 3)
    assert feature(histories, (2, 0, 0), "best_distance") == pytest.approx(1 / 9)
    assert feature(histories, (0, 0, 0), "elite_distance") == 0
    assert feature(histories, (1, 0, 0), "value_failures") == 0.5
    assert feature(histories, (3, 0, 0), "value_mean") < feature(histories, (0, 1, 4), "value_mean")
    assert feature(histories, (2, 2, 3), "value_unseen") > feature(histories, (0, 0, 0), "value_unseen")
    assert feature(histories, (3, 0, 0), "elite_mean") < 0 < feature(histories, (0, 1, 4), "elite_mean")
    overview = dict(zip(SEARCH_FEATURES, histories.overview()[0].tolist(), strict=True))
    assert overview["failures"] == 0.25
    assert overview["spent"] == pytest.approx(0.1)
    assert overview["stagnation"] == 0.5
    assert overview["last"] == 4


def test_elites_are_the_best_five_with_their_tags() -> None:
    histories = Histories(1, 1, 16)
    histories.restart([0], cards=np.array([[16]]), ordered=np.array([[True]]), sizes=[16], budgets=[16])
    logs = [5.0, 3.0, np.nan, 8.0, 1.0, 2.0, 9.0, 4.0, 0.5]
    for i, log in enumerate(logs):
        histories.add([0], np.array([[i]]), np.array([log]), np.array([i]))
    assert sorted(histories.elite_tags[0].tolist()) == [1, 4, 5, 7, 8]
    assert sorted(histories.elite_logs[0].tolist()) == [0.5, 1, 2, 3, 4]
    assert histories.best[0] == 0.5


def test_searches_do_not_mix() -> None:
    both = Histories(2, 3, 8)
    both.restart([0, 1], cards=np.repeat(CARDS, 2, 0), ordered=np.repeat(ORDERED, 2, 0), sizes=[60, 60], budgets=[9, 9])
    both.add([1], np.array([[3, 2, 1]]), np.array([0.5]))
    both.add([0], np.array([[0, 2, 1]]), np.array([0.7]))
    assert both.best.tolist() == [0.7, 0.5]
    both.restart([1], cards=CARDS, ordered=ORDERED, sizes=[60], budgets=[9])
    assert both.trials.tolist() == [1, 0]
    assert both.best.tolist() == [0.7, np.inf]
