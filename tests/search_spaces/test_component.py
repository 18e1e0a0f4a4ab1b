"""Components: rows by rising cost, ranks and draws, whichever way a component is represented."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.search_spaces import Constraint, Parameter, layered
from tuner.search_spaces.component import ListedComponent, components
from tuner.search_spaces.layered import LayeredComponent
from tuner.search_spaces.nearest import combined, distinct
from tuner.search_spaces.rank import places, uniform
from tuner.search_spaces.wide import WideComponent

PARAMETERS = [Parameter.integer(name, 0, 3) for name in "ABC"]
CONSTRAINTS = [Constraint.parse("A != B"), Constraint.parse("B + C < 5")]
ROWS = [row for row in itertools.product(range(4), repeat=3) if row[0] != row[1] and row[1] + row[2] < 5]

COSTS = st.lists(st.lists(st.integers(0, 8).map(float), min_size=4, max_size=4).map(np.array), min_size=3, max_size=3)


@given(costs=COSTS)
@pytest.mark.parametrize("kept", [0, 1000])
def test_layers_yield_every_row_by_rising_cost(kept: int, costs: Sequence[np.ndarray]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layered, "MOST_ROWS_KEPT", kept)
        found = list(LayeredComponent((0, 1, 2), PARAMETERS, CONSTRAINTS).nearest(costs))
    assert [cost for cost, _ in found] == sorted(cost for cost, _ in found)
    assert sorted(row for _, row in found) == ROWS
    assert all(cost == sum(own[index] for own, index in zip(costs, row, strict=True)) for cost, row in found)


@settings(max_examples=20)
@given(costs=COSTS)
def test_a_wide_component_yields_valid_rows_by_rising_cost(costs: Sequence[np.ndarray]) -> None:
    found = list(WideComponent((0, 1, 2), PARAMETERS, CONSTRAINTS).nearest(costs))
    assert [cost for cost, _ in found] == sorted(cost for cost, _ in found)
    assert len({row for _, row in found}) == len(found)
    assert set(ROWS).issuperset(row for _, row in found)
    # No single step leads from the first to a cheaper one.
    cost, first = found[0]
    steps = [row for row in ROWS if sum(a != b for a, b in zip(row, first, strict=True)) == 1]
    assert all(sum(own[index] for own, index in zip(costs, row, strict=True)) >= cost for row in steps)


@given(st.lists(st.lists(st.integers(0, 9), max_size=5).map(sorted), min_size=1, max_size=4))
def test_combined_yields_every_combination_once_by_rising_sum(lists: list[list[int]]) -> None:
    streams = [iter([(float(cost), (place,)) for place, cost in enumerate(costs)]) for costs in lists]
    found = [tuple(part[0] for part in parts) for parts in combined(streams)]
    assert sorted(found) == sorted(itertools.product(*(range(len(costs)) for costs in lists)))
    sums = [sum(costs[place] for costs, place in zip(lists, row, strict=True)) for row in found]
    assert sums == sorted(sums)


def test_distinct_keeps_the_first() -> None:
    assert list(distinct(iter([(1.0, (1,)), (2.0, (2,)), (3.0, (1,))]))) == [(1.0, (1,)), (2.0, (2,))]


def test_components_are_what_constraints_connect() -> None:
    parameters = [Parameter.integer(name, 0, 3) for name in "ABCDEF"]
    found = components(
        parameters, [Constraint.parse(text) for text in ("A < E or A == 0", "E != 9 or B == 1", "D < 9")]
    )
    assert [component.axes for component in found] == [(0, 1, 4), (2,), (3,), (5,)]
    # A == 0 goes with 4 values of E, 1 with 2, 2 with 1, 3 with none; each with 4 values of B.
    assert [component.count for component in found] == [4 * (4 + 3), 4, 4, 4]


@pytest.mark.parametrize("kind", ["layered", "listed"])
def test_ranks_number_the_rows(kind: str) -> None:
    made = (
        LayeredComponent((0, 1, 2), PARAMETERS, CONSTRAINTS)
        if kind == "layered"
        else ListedComponent((0, 1, 2), np.array(ROWS, dtype=np.uint8))
    )
    assert made.count == len(ROWS)
    assert sorted(map(tuple, made.rows(np.arange(len(ROWS))).tolist())) == ROWS


@given(sizes=st.lists(st.sampled_from([1, 2, 3, 7, 2**40, 2**80]), min_size=1, max_size=4), data=st.data())
def test_places_are_the_digits_of_the_number(sizes: list[int], data: st.DataObject) -> None:
    total = int(np.prod(np.array(sizes, dtype=object)))
    start = data.draw(st.integers(0, total - 1))
    length = min(5, total - start)
    digits = places(start, length, sizes)
    for offset in range(length):
        number = 0
        for size, digit in zip(sizes, digits, strict=True):
            assert 0 <= digit[offset] < size
            number = number * size + int(digit[offset])
        assert number == start + offset


def test_draws_beyond_int64_are_uniform() -> None:
    bound = 3 * 2**64
    drawn = uniform(np.random.default_rng(0), bound, 3000)
    assert all(0 <= number < bound for number in drawn)
    thirds = np.bincount([number // 2**64 for number in drawn], minlength=3)
    # 2 degrees of freedom: 13.8 is exceeded once in a thousand.
    assert sum((thirds - 1000) ** 2 / 1000) < 13.8
