from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.lookup.neighbour import Neighbours
from tuner.nearby import distance
from tuner.types import Scalar, Workload

sizes = st.integers(1, 70000) | st.floats(0.01, 1e6) | st.sampled_from([0, -3, 0.0])
values: st.SearchStrategy[Scalar] = sizes | st.booleans() | st.sampled_from(["bf16", "fp32"])
pairs = st.tuples(values, sizes, st.sampled_from([1024, 4096]))


def as_workload(fields: tuple[Scalar, ...]) -> Workload:
    return Workload({f"f{at}": value for at, value in enumerate(fields)})


@given(st.lists(pairs, min_size=1, max_size=60), pairs)
def test_all_that_match_come_by_distance(known: list[tuple[Scalar, ...]], asked: tuple[Scalar, ...]) -> None:
    near = Neighbours(list(zip(*known, strict=True)), range(len(known)))
    found = list(near.nearest(asked))
    expected = {at: distance(as_workload(fields), as_workload(asked)) for at, fields in enumerate(known)}
    assert {row for _, row in found} == {at for at, far in expected.items() if math.isfinite(far)}
    assert [far for far, _ in found] == sorted(far for far, _ in found)
    for far, row in found:
        assert far == pytest.approx(expected[row], abs=1e-9)


@pytest.mark.parametrize("fields", [1, 3, 5])
def test_the_nearest_of_many_is_the_nearest(fields: int) -> None:
    rng = random.Random(fields)
    known = [
        tuple(rng.choice([2 ** rng.randrange(14), rng.randrange(1, 9000)]) for _ in range(fields)) for _ in range(4000)
    ]
    near = Neighbours(list(zip(*known, strict=True)), range(len(known)))
    for _ in range(50):
        asked = tuple(rng.randrange(1, 20000) for _ in range(fields))
        logs = [math.log2(value) for value in asked]
        expected = sorted(math.dist(logs, [math.log2(value) for value in fields]) for fields in known)[:20]
        found = [far for far, _ in itertools.islice(near.nearest(asked), 20)]
        assert found == pytest.approx(expected)


def test_a_workload_of_no_field_is_its_own_neighbour() -> None:
    assert list(Neighbours([], [3]).nearest([])) == [(0.0, 3)]
