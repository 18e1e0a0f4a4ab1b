from __future__ import annotations

import numpy as np
import pytest

from tuner.agents.advice import Advice, Advisor
from tuner.agents.pool import Row
from tuner.agents.slate import ADVICE_FEATURES
from tuner.search_spaces import Parameter, SearchSpace

SPACE = SearchSpace([Parameter.integer("A", 0, 15), Parameter.integer("B", 0, 15)])
ROWS: list[Row] = [(a, b) for a in range(16) for b in range(16)]


def log_of(row: Row) -> float:
    return ((row[0] - 11) ** 2 + (row[1] - 4) ** 2) / 40


def advised(
    told: list[Row], *, scale: float = 0.0, failed: tuple[Row, ...] = (), pending: list[Row] | None = None
) -> Advice:
    logs = [np.inf if row in failed else log_of(row) + scale for row in told]
    asked = [row for row in ROWS if row not in told]
    return Advisor(SPACE, np.random.default_rng(0)).advise(told, logs, pending or [], asked, 5, lambda _: [])


@pytest.fixture
def told() -> list[Row]:
    return [ROWS[i] for i in np.random.default_rng(1).choice(len(ROWS), 30, replace=False)]


def test_the_process_knows_where_the_best_are(told: list[Row]) -> None:
    advice = advised(told)
    assert log_of(advice.rows[int(advice.mean.argmin())]) < 0.2
    assert log_of(advice.rows[int(advice.improvement.argmax())]) < min(map(log_of, told))
    assert log_of(advice.rows[int(advice.likelihood.argmax())]) < np.median([log_of(row) for row in ROWS])


def test_numbers_are_free_of_scale(told: list[Row]) -> None:
    one, other = advised(told), advised(told, scale=9.0)
    # Trees draw their thresholds between the scores, so that the last digit of a score may move one.
    steady = [i for i, name in enumerate(ADVICE_FEATURES) if not name.startswith("likelihood")]
    np.testing.assert_allclose(one.features[:, steady], other.features[:, steady], atol=1e-3)
    np.testing.assert_allclose(one.search, other.search, atol=1e-3)
    assert np.isfinite(one.features).all()
    assert (np.abs(one.features) <= 4).all()


def test_what_fails_is_worth_less(told: list[Row]) -> None:
    failed = tuple(row for row in told if row[0] > 7)
    advice = advised(told, failed=failed)
    works = advice.features[:, ADVICE_FEATURES.index("works")]
    assert (
        works[[row[0] > 9 for row in advice.rows]].mean()
        < 0.4
        < 0.6
        < works[[row[0] < 6 for row in advice.rows]].mean()
    )


def test_what_is_being_tried_is_not_advised_again(told: list[Row]) -> None:
    best = advised(told).rows[int(advised(told).improvement.argmax())]
    again = advised(told, pending=[best])
    place = again.rows.index(best)
    assert again.improvement[place] < again.improvement.max()
    assert again.features[place, ADVICE_FEATURES.index("deviation")] < 0.2


def test_neighbours_of_what_is_promising_join(told: list[Row]) -> None:
    asked = [row for row in ROWS if row not in told][:40]
    more = [row for row in ROWS if row not in told][40:50]
    logs = list(map(log_of, told))
    advice = Advisor(SPACE, np.random.default_rng(0)).advise(told, logs, [], asked, 7, lambda _: more)
    assert list(advice.rows) == asked + more
    near = advice.features[:, ADVICE_FEATURES.index("near")]
    assert near.tolist() == [1.0] * 7 + [0.0] * 33 + [0.5] * 10


def test_what_was_told_before_need_not_be_told_anew(told: list[Row]) -> None:
    asked = [row for row in ROWS if row not in told]
    logs = [log_of(row) for row in told]
    ones = []
    for first in (29, 30):
        advisor = Advisor(SPACE, np.random.default_rng(0))
        advisor.advise(told[:first], logs[:first], [], asked, 5, lambda _: [])
        before = advisor.advise(told, logs, [], asked, 5, lambda _: [])
        ones.append(before.features[:, ADVICE_FEATURES.index("gap")])
    # Both have seen the same trials; only the climbs of the hyperparameters differ.
    assert np.corrcoef(ones[0], ones[1])[0][1] > 0.9
