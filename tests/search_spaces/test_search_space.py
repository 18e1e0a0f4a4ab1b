"""Search spaces against brute force over the product, on every way a component can be represented."""

# Arguments are named as the parameters that they read.

from __future__ import annotations

import inspect
import itertools
import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import SpaceError
from tuner.search_spaces import Constraint, Parameter, SearchSpace, layered, rule, space, wide
from tuner.types import Config, Scalar

NAMES = ("A", "B", "C", "D", "E")

# What makes small spaces take the ways of large ones.
WAYS = {
    "table": [],
    "parts": [(space, "MOST_ROWS_SCANNED", 0)],
    "layers": [(space, "MOST_ROWS_SCANNED", 0), (layered, "MOST_ROWS_KEPT", 0), (layered, "BLOCK", 3)],
    "integers": [(layered, "EXACT", 0), (layered, "MOST_ROWS_KEPT", 0)],
    "no truth tables": [(rule, "LARGEST_TABLE", 0), (rule, "BLOCK", 3), (space, "BLOCK", 5)],
    "wide": [(layered, "MOST_EDGES", 0), (wide, "BLOCK", 64), (wide, "NEAREST_DRAWS", 32), (space, "BLOCK", 5)],
    "wide and narrow": [(layered, "MOST_EDGES", 4), (wide, "NEAREST_DRAWS", 32), (rule, "LARGEST_TABLE", 6)],
}


@contextmanager
def way(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module, constant, value in WAYS[name]:
            patch.setattr(module, constant, value)
        yield


class Truth:
    """A function of named parameters, given by its answers."""

    def __init__(self, parameters: Sequence[Parameter], answers: Sequence[tuple[Scalar, ...]]) -> None:
        self.answers = frozenset(json.dumps(answer) for answer in answers)
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(own.name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for own in parameters]
        )

    def __call__(self, *values: Scalar) -> bool:
        return json.dumps(values) in self.answers


@st.composite
def truths(draw: st.DrawFn, parameters: Sequence[Parameter], hold: bool) -> Truth:
    """Any truth table over some of the parameters; it holds at their defaults if `hold`."""
    read = draw(st.permutations(parameters))[: draw(st.integers(1, min(3, len(parameters))))]
    combinations = list(itertools.product(*(own.values for own in read)))
    answers = draw(st.lists(st.sampled_from(combinations), min_size=len(combinations) // 2))
    defaults = [tuple(own.default for own in read)] if hold else []
    return Truth(read, [*answers, *defaults])


VALUE_LISTS: st.SearchStrategy[list[Scalar]] = st.one_of(
    st.integers(1, 5).map(lambda count: [2**place for place in range(count)]),
    st.lists(st.sampled_from([0, False, 0.0, -0.0, "0", 1, True, 1.0]), min_size=1, max_size=4, unique_by=repr),
)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    parameters: list[Parameter] = []
    for name in NAMES[: draw(st.integers(1, 5))]:
        values = draw(VALUE_LISTS)
        when = None
        if parameters and draw(st.integers(0, 3)) == 0:
            when = Constraint(draw(truths(parameters, hold=False)), f"switch of {name}")
        ordered = draw(st.sampled_from([None, True, False]))
        parameters.append(Parameter(name, values, draw(st.sampled_from(values)), ordered, when))
    constraints = [
        Constraint(draw(truths(parameters, hold=True)), f"rule {number}") for number in range(draw(st.integers(0, 3)))
    ]
    return SearchSpace(draw(st.permutations(parameters)), constraints)


def brute(searched: SearchSpace) -> list[Config]:
    """The valid configs, by asking every combination every question."""
    valid = []
    for row in itertools.product(*(parameter.values for parameter in searched.parameters)):
        config = Config(dict(zip(searched.names, row, strict=True)))
        conditions = [
            own.when is None or own.when.check(config) or json.dumps(config[own.name]) == json.dumps(own.default)
            for own in searched.parameters
        ]
        if all(conditions) and all(constraint.check(config) for constraint in searched.constraints):
            valid.append(config)
    return valid


def distance(searched: SearchSpace, row: Sequence[int], config: Config) -> float:
    total = 0.0
    for parameter, index in zip(searched.parameters, row, strict=True):
        away = abs(parameter.index(config[parameter.name]) - index)
        total += away / max(len(parameter) - 1, 1) if parameter.ordered else min(away, 1)
    return total


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=60, deadline=None)
@given(searched=spaces())
def test_enumeration_equals_the_filtered_product(name: str, searched: SearchSpace) -> None:
    with way(name):
        valid = brute(searched)
        listed = list(searched)
        assert Counter(config.json for config in listed) == Counter(config.json for config in valid)
        assert searched.size == len(valid)
        assert searched.product_size == math.prod(len(parameter) for parameter in searched.parameters)
        assert [searched.decode(row) for row in searched.table] == listed


@settings(max_examples=60, deadline=None)
@given(searched=spaces())
def test_contains_and_violated_agree_with_brute_force(searched: SearchSpace) -> None:
    valid = set(brute(searched))
    for row in itertools.product(*map(range, searched.shape)):
        config = searched.decode(row)
        assert searched.contains(config) is (config in searched) is (config in valid)
        assert (searched.violated(config) is None) is (config in valid)
    assert searched.default in valid


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=40, deadline=None)
@given(searched=spaces(), seed=st.integers(0, 9), share=st.floats(0, 1.2))
def test_samples_are_distinct_and_valid(name: str, searched: SearchSpace, seed: int, share: float) -> None:
    with way(name):
        valid = set(brute(searched))
        count = int(share * len(valid))
        sample = searched.sample(np.random.default_rng(seed), count)
        assert len(set(sample)) == len(sample) == min(count, len(valid))
        assert valid.issuperset(sample)
        assert sample == searched.sample(np.random.default_rng(seed), count)


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=40, deadline=None)
@given(searched=spaces(), data=st.data())
def test_nearest_is_the_nearest(name: str, searched: SearchSpace, data: st.DataObject) -> None:
    with way(name):
        row = [data.draw(st.integers(0, size - 1)) for size in searched.shape]
        valid = brute(searched)
        exclude = set(data.draw(st.lists(st.sampled_from(valid))))
        left = [config for config in valid if config not in exclude]
        found = searched.nearest(row, exclude)
        assert found == searched.nearest(row, list(exclude))
        if not left:
            assert found is None
        elif found is None:
            assert "wide" in name  # these do not look at every config
        else:
            assert found in left
            nearest = min(distance(searched, row, config) for config in left)
            if "wide" not in name:
                assert distance(searched, row, found) == pytest.approx(nearest)


@settings(max_examples=60, deadline=None)
@given(searched=spaces(), data=st.data(), adjacent=st.booleans())
def test_neighbours_differ_in_one_parameter(searched: SearchSpace, data: st.DataObject, adjacent: bool) -> None:
    valid = brute(searched)
    config = data.draw(st.sampled_from(valid))
    start = searched.encode(config)
    found = searched.neighbours(config, adjacent=adjacent)
    assert len(set(found)) == len(found)
    assert config not in found
    assert set(valid).issuperset(found)
    changed_axes = []
    for neighbour in found:
        row = searched.encode(neighbour)
        changed = np.flatnonzero(row != start)
        changed_axes.append(changed.tolist())
        # One parameter moved by choice; what else changed is conditional and went to its default.
        others = [
            axis
            for axis in changed
            if searched.parameters[axis].when is None
            or neighbour[searched.names[axis]] != searched.parameters[axis].default
        ]
        assert len(others) <= 1
    for other in valid:
        changed = np.flatnonzero(searched.encode(other) != start)
        if len(changed) == 1:
            axis = int(changed[0])
            step = abs(int(searched.encode(other)[axis] - start[axis]))
            if not (adjacent and searched.parameters[axis].ordered and step > 1):
                assert other in found


@settings(max_examples=60, deadline=None)
@given(searched=spaces(), data=st.data())
def test_encode_and_decode_are_inverse(searched: SearchSpace, data: st.DataObject) -> None:
    rows = np.array([[data.draw(st.integers(0, size - 1)) for size in searched.shape] for _ in range(3)])
    configs = [searched.decode(row) for row in rows]
    assert searched.encode_many(configs).tolist() == rows.tolist()
    assert searched.encode(configs[0]).dtype == searched.encode_many([]).dtype == np.int64
    assert searched.encode_many([]).shape == (0, len(searched.names))
    for parameter, index in zip(searched.parameters, rows[0], strict=True):
        assert json.dumps(configs[0][parameter.name]) == json.dumps(parameter.values[index])


@settings(max_examples=40, deadline=None)
@given(searched=spaces(), data=st.data())
def test_listed_spaces_hold_what_is_listed(searched: SearchSpace, data: st.DataObject) -> None:
    parameters = [Parameter(own.name, own.values, own.default, own.ordered) for own in searched.parameters]
    free = list(SearchSpace(parameters))
    configs = data.draw(st.lists(st.sampled_from(free), min_size=1))
    listed = SearchSpace.from_configs(parameters, configs)
    assert set(listed) == set(configs)
    assert listed.size == len(list(listed)) == len(set(configs))
    defaults = Config({own.name: own.default for own in parameters})
    assert listed.default == (defaults if defaults in configs else configs[0])
    assert all((config in listed) is (config in configs) for config in free)
    assert set(listed.neighbours(free[0])) <= set(configs)
    row = free[-1]
    found = listed.nearest(listed.encode(row))
    assert found is not None
    assert distance(listed, listed.encode(row).tolist(), found) == pytest.approx(
        min(distance(listed, listed.encode(row).tolist(), config) for config in configs)
    )
    assert listed.nearest(listed.encode(row), configs) is None
    sample = listed.sample(np.random.default_rng(0), 3)
    assert len(set(sample)) == len(sample) == min(3, listed.size)
    again = SearchSpace.from_json(json.loads(json.dumps(listed.to_json())))
    assert again.fingerprint == listed.fingerprint == SearchSpace.from_configs(parameters, configs[::-1]).fingerprint
    assert again.default == listed.default
    assert list(again) == list(listed)


def gemm() -> SearchSpace:
    return SearchSpace(
        [
            Parameter.powers_of_two("BLOCK_M", 16, 128),
            Parameter.powers_of_two("BLOCK_N", 16, 128),
            Parameter.boolean("USE_SPLIT"),
            Parameter.integer("SPLIT", 1, 4, when=Constraint.parse("USE_SPLIT == True")),
            Parameter.categorical("LAYOUT", ("row", "column")),
        ],
        [
            Constraint.parse("BLOCK_M * BLOCK_N <= 4096", "the tile does not fit"),
            Constraint.parse("LAYOUT == 'row' or BLOCK_M >= 32", "columns need 32 rows"),
        ],
    )


def test_json_round_trip_keeps_everything() -> None:
    first = gemm()
    again = SearchSpace.from_json(json.loads(json.dumps(first.to_json())))
    assert again.fingerprint == first.fingerprint
    assert list(again) == list(first)
    assert again.parameters == first.parameters
    assert again.constraints == first.constraints
    assert again.default == first.default


@pytest.mark.parametrize("data", [{}, {"parameters": 3}, {"parameters": [{}]}, [], None, {"parameters": []}])
def test_other_json_is_refused(data: object) -> None:
    with pytest.raises(SpaceError):
        SearchSpace.from_json(data)  # type: ignore[arg-type]


def test_json_refuses_functions() -> None:
    odd = Constraint(lambda A: A % 2, "A is even")
    with pytest.raises(SpaceError, match="write it as an expression"):
        SearchSpace([Parameter("A", (1, 2))], [odd]).to_json()
    with pytest.raises(SpaceError, match="write it as an expression"):
        SearchSpace([Parameter("A", (1, 2)), Parameter("B", (1, 2), when=odd)]).to_json()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"BLOCK_M": 48}, "BLOCK_M=48 is not one of its values; choose one of 16, 32, 64, 128"),
        ({"USE_SPLIT": 0}, "USE_SPLIT=0 is not one of its values; choose one of False, True"),
        ({"LAYOUT": "diagonal"}, "LAYOUT='diagonal' is not one of its values; choose one of 'row', 'column'"),
        ({"TILE": 1}, "'TILE' is not a parameter of this space; there are BLOCK_M, BLOCK_N, USE_SPLIT, SPLIT, LAYOUT"),
        ({"BLOCK_M": 128, "BLOCK_N": 64}, "the tile does not fit (BLOCK_M=128, BLOCK_N=64)"),
        (
            {"SPLIT": 2},
            "SPLIT is inactive unless USE_SPLIT == True; leave it at its default 1 (SPLIT=2, USE_SPLIT=False)",
        ),
        ({"SPLIT": 2, "USE_SPLIT": True}, None),
        ({"LAYOUT": "column"}, "columns need 32 rows (LAYOUT='column', BLOCK_M=16)"),
    ],
)
def test_violated_says_why(changes: dict[str, Scalar], reason: str | None) -> None:
    searched = gemm()
    config = Config({**searched.default, **changes})
    assert searched.violated(config) == reason
    if reason is None:
        searched.require(config)
    else:
        with pytest.raises(SpaceError) as refusal:
            searched.require(config)
        assert str(refusal.value) == reason


def test_a_missing_parameter_is_named() -> None:
    searched = gemm()
    config = Config({name: value for name, value in searched.default.items() if name != "SPLIT"})
    assert searched.violated(config) == "SPLIT is missing; choose one of its values, such as 1"
    for ask in (searched.encode, searched.neighbours, lambda asked: searched.encode_many([asked])):
        with pytest.raises(SpaceError, match="SPLIT is missing"):
            ask(config)
    assert "config" not in searched


def test_an_unknown_parameter_is_named_when_encoding() -> None:
    searched = gemm()
    with pytest.raises(SpaceError, match="'TILE' is not a parameter of this space"):
        searched.encode({**searched.default, "TILE": 1})


def test_an_inactive_parameter_rests_at_exactly_its_default() -> None:
    for values in ((0.0, -0.0), (0, False), (1, 1.0)):
        searched = SearchSpace([Parameter.boolean("A"), Parameter("B", values, when=Constraint.parse("A"))])
        assert [config.json for config in searched] == [config.json for config in brute(searched)]
        assert searched.size == 3


def test_switching_off_resets_what_becomes_inactive() -> None:
    searched = gemm()
    on = Config({**searched.default, "USE_SPLIT": True, "SPLIT": 4})
    assert Config({**searched.default, "USE_SPLIT": False, "SPLIT": 1}) in searched.neighbours(on)
    chain = SearchSpace(
        [
            Parameter.boolean("A"),
            # Reset from last to first: C depends on B, B on A.
            Parameter.integer("C", 0, 3, when=Constraint.parse("B > 0")),
            Parameter.integer("B", 0, 3, when=Constraint.parse("A")),
        ]
    )
    assert Config(A=False, B=0, C=0) in chain.neighbours(Config(A=True, B=2, C=3))


def test_adjacent_neighbours_move_one_step() -> None:
    searched = SearchSpace([Parameter("A", (1, 2, 4, 8)), Parameter.categorical("B", ("x", "y", "z"))])
    found = searched.neighbours(Config(A=2, B="x"), adjacent=True)
    assert set(found) == {Config(A=1, B="x"), Config(A=4, B="x"), Config(A=2, B="y"), Config(A=2, B="z")}
    assert len(searched.neighbours(Config(A=2, B="x"))) == 5


@pytest.mark.parametrize("indices", [[0], [0] * 6, [0, 0, 0, 0, 2], [-1, 0, 0, 0, 0], [0.0] * 5, "00000", [[0] * 5]])
def test_bad_index_vectors_are_refused(indices: list[int]) -> None:
    for ask in (gemm().decode, gemm().nearest):
        with pytest.raises(SpaceError, match=r"is out of range; use 0 to|is not an index vector; give 5"):
            ask(indices)


def test_bad_spaces_are_refused() -> None:
    one = Parameter("A", (1, 2))
    with pytest.raises(SpaceError, match="needs a parameter"):
        SearchSpace([])
    with pytest.raises(SpaceError, match="two parameters are called 'A'"):
        SearchSpace([one, Parameter("B", (1,)), one])
    with pytest.raises(SpaceError, match=r"\(A < B does not hold\) reads 'B', which is no parameter"):
        SearchSpace([one], [Constraint.parse("A < B")])
    with pytest.raises(SpaceError, match="reads 'switch', which is no parameter"):
        SearchSpace([Parameter("A", (1, 2), when=Constraint.parse("switch"))])
    with pytest.raises(SpaceError, match=r"the default config is not valid: A is 1 \(A=1\)"):
        SearchSpace([one], [Constraint.parse("A > 1", "A is 1")])
    with pytest.raises(SpaceError, match="raised NameError"):
        SearchSpace([one], [Constraint(lambda A: misspelt > A, "small")])  # type: ignore[name-defined]  # noqa: F821
    with pytest.raises(SpaceError, match="needs a config"):
        SearchSpace.from_configs([one], [])
    with pytest.raises(SpaceError, match="A=3 is not one of its values"):
        SearchSpace.from_configs([one], [Config(A=3)])
    with pytest.raises(SpaceError, match="B has a condition"):
        SearchSpace.from_configs([one, Parameter("B", (1, 2), when=Constraint.parse("A > 1"))], [Config(A=1, B=1)])
    with pytest.raises(SpaceError, match="count=-1 is negative"):
        SearchSpace([one]).sample(np.random.default_rng(0), -1)


def test_single_configs_are_asked_without_listing_the_space() -> None:
    calls = []

    def count(A: int, B: int) -> bool:
        calls.append((A, B))
        return True

    searched = SearchSpace([Parameter.integer("A", 0, 999), Parameter.integer("B", 0, 999)], [Constraint(count, "no")])
    assert len(calls) == 1
    assert searched.contains(Config(A=3, B=4))
    assert searched.violated(Config(A=3, B=4)) is None
    assert len(calls) == 3
    assert len(searched.neighbours(Config(A=3, B=4), adjacent=True)) == 4
    assert len(calls) == 7


@pytest.mark.parametrize("name", WAYS)
def test_sampling_is_uniform(name: str) -> None:
    with way(name):
        searched = SearchSpace(
            [Parameter.integer(letter, 0, 3) for letter in "ABC"] + [Parameter.boolean("D")],
            [Constraint.parse("A <= B and (A > 0 or C != 2)"), Constraint.parse("B + C < 5")],
        )
        assert searched.size == len(brute(searched)) == 52
        rng = np.random.default_rng(7)
        singles = Counter(searched.sample(rng, 1)[0] for _ in range(1040))
        # 51 degrees of freedom: 87.97 is exceeded once in a thousand.
        assert sum((singles[config] - 20) ** 2 / 20 for config in searched) < 87.9
        groups = Counter(config for _ in range(130) for config in searched.sample(rng, 8))
        # 20 are expected of each, as before; without replacement the counts vary less than independent ones would.
        assert sum((groups[config] - 20) ** 2 / 20 for config in searched) < 87.9
        if "wide" in name:
            return  # drawing nearly all of the space is slow there, and ends in the same shuffle
        firsts = Counter(searched.sample(rng, 52)[0] for _ in range(1040))
        assert sum((firsts[config] - 20) ** 2 / 20 for config in searched) < 87.9


def test_a_rarely_met_constraint_between_large_parameters() -> None:
    sides = [Parameter.integer(name, 1, 40, default=side) for name, side in (("A", 3), ("B", 4), ("C", 5))]
    right = SearchSpace(sides, [Constraint.parse("A * A + B * B == C * C", "not a right triangle")])
    squares = {c * c: c for c in range(1, 41)}
    expected = {
        Config(A=a, B=b, C=squares[a * a + b * b])
        for a in range(1, 41)
        for b in range(1, 41)
        if a * a + b * b in squares
    }
    assert set(right) == expected
    assert right.size == len(expected)


def test_a_space_of_many_free_parameters_is_counted_by_its_parts() -> None:
    parameters = [Parameter.integer(f"P{number:02}", 0, 9) for number in range(13)]
    searched = SearchSpace(
        parameters, [Constraint.parse("P00 < P07 or P00 == 0"), Constraint(lambda P03, P11: P03 != P11 + 1, "next")]
    )
    assert searched.product_size == 10**13
    assert searched.size == (10 + 36) * (100 - 9) * 10**9 > 10**12
    sample = searched.sample(np.random.default_rng(0), 200)
    assert len(set(sample)) == 200
    assert all(config in searched for config in sample)
    assert searched.decode(searched.encode(sample[0])) == sample[0]
    row = [9, 5, 5, 4, 5, 5, 5, 0, 5, 5, 5, 3, 5]
    found = searched.nearest(row)
    assert found is not None
    # The cheapest repairs: P03 or P11 by one step, and P00 and P07 by 8 together, or P00 to 0 by 9.
    assert distance(searched, row, found) == pytest.approx((1 + 9) / 9)
    again = searched.nearest(row, {found})
    assert again not in (None, found)
    assert again in searched
    assert len(list(itertools.islice(searched, 5000))) == 5000
    with pytest.raises(SpaceError, match="too many for a table"):
        _ = searched.table


def test_one_connected_component_beyond_int64() -> None:
    parameters = [Parameter.integer(f"P{number:02}", 0, 9) for number in range(30)]
    names = [parameter.name for parameter in parameters]
    rising = SearchSpace(parameters, [Constraint.parse(f"{a} <= {b}") for a, b in itertools.pairwise(names)])
    assert rising.size == math.comb(39, 9)
    other = SearchSpace(
        [Parameter(own.name, own.values, place % 2) for place, own in enumerate(parameters)],
        [Constraint.parse(f"{a} != {b}") for a, b in itertools.pairwise(names)],
    )
    assert other.size == 10 * 9**29 > 2**63
    for searched in (rising, other):
        sample = searched.sample(np.random.default_rng(0), 50)
        assert len(set(sample)) == 50
        assert all(config in searched for config in sample)
        assert all(config in searched for config in itertools.islice(searched, 20))
    found = other.nearest([5] * 30)
    assert found is not None
    assert distance(other, [5] * 30, found) == pytest.approx(15 / 9)
    falling = list(range(9, -1, -1)) * 3
    nearest = rising.nearest(falling)
    assert nearest is not None
    # Each block of ten falls from 9 to 0: a constant between is as near as it gets, 25 steps away for each.
    assert distance(rising, falling, nearest) == pytest.approx(75 / 9)


def test_a_wide_component_is_sampled_and_asked_but_not_counted() -> None:
    parameters = [Parameter.integer(f"P{number:02}", 0, 9) for number in range(12)]
    total = Constraint.parse(" + ".join(parameter.name for parameter in parameters) + " <= 54", "the sum is too large")
    searched = SearchSpace(parameters, [total])
    sample = searched.sample(np.random.default_rng(0), 300)
    assert len(set(sample)) == 300
    assert all(config in searched for config in sample)
    # The sum is symmetric around 54: a uniform sample stays close below it.
    assert 40 < np.mean([sum(config.integer(name) for name in searched.names) for config in sample]) < 54
    with pytest.raises(SpaceError, match=r"1000000000000 combinations of P00, .* are too many to count; sample"):
        _ = searched.size
    assert all(config in searched for config in itertools.islice(searched, 10))
    found = searched.nearest([9] * 6 + [0] * 6)
    assert found == searched.decode([9] * 6 + [0] * 6)
    assert searched.nearest([9] * 12) in searched
    assert searched.nearest([9] * 12, {searched.nearest([9] * 12)}) != searched.nearest([9] * 12)  # type: ignore[arg-type]
    assert len(searched.neighbours(searched.default)) == 9 * 12
    assert len(searched.fingerprint) == 16


def test_valid_configs_too_rare_to_be_drawn_are_reported() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide, "MOST_DRAWS", 4096)
        parameters = [Parameter.integer(f"P{number:02}", 0, 9) for number in range(12)]
        total = Constraint.parse(" + ".join(own.name for own in parameters) + " == 0")
        with pytest.raises(SpaceError, match=r"only 0 of .* draws .* met the constraints"):
            SearchSpace(parameters, [total]).sample(np.random.default_rng(0), 1)


def test_fingerprints_identify_parameters_and_what_is_valid() -> None:
    base = gemm()
    swapped = SearchSpace(base.parameters, base.constraints[::-1])
    assert swapped.fingerprint == base.fingerprint
    tile, columns = base.constraints
    function = Constraint(lambda BLOCK_N, BLOCK_M: BLOCK_M * BLOCK_N <= 4096, "said otherwise")
    assert SearchSpace(base.parameters, [function, columns]).fingerprint == base.fingerprint
    first, *rest = base.parameters
    others = [
        SearchSpace(base.parameters, [tile]),
        SearchSpace(base.parameters, [Constraint.parse("BLOCK_M * BLOCK_N <= 2048"), columns]),
        SearchSpace(base.parameters[::-1], base.constraints),
        SearchSpace([Parameter("BLOCK_M", first.values, 32), *rest], base.constraints),
        SearchSpace([Parameter("BLOCK_M", first.values, ordered=False), *rest], base.constraints),
        SearchSpace([Parameter("BLOCK_M", [*first.values, 256]), *rest], base.constraints),
        SearchSpace([Parameter(own.name, own.values) for own in base.parameters], base.constraints),
        SearchSpace.from_configs([Parameter(own.name, own.values) for own in base.parameters], list(base)),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)
    assert Parameter("A", (0, 1)) != Parameter("A", (False, True))
    bits, flags = (SearchSpace([Parameter("A", values)]) for values in ((0, 1), (False, True)))
    assert bits.fingerprint != flags.fingerprint


def test_fingerprints_of_large_functions_enter_by_answers() -> None:
    parameters = [Parameter.integer(name, 0, 999) for name in "ABC"]

    def searched(constraint: Constraint) -> str:
        return SearchSpace(parameters, [constraint]).fingerprint

    first = searched(Constraint(lambda A, B, C: A + B + C < 2000, "large"))
    assert first == searched(Constraint(lambda C, B, A: A + B + C < 2000, "large"))
    assert first != searched(Constraint(lambda A, B, C: A + B + C < 1990, "large"))
    assert first != searched(Constraint(lambda A, B, C: A + B + C < 2000, "too large"))
    assert first != searched(Constraint.parse("A + B + C < 2000", "large"))


PRINT_FINGERPRINT = """
import numpy as np
from tuner.search_spaces import Constraint, Parameter, SearchSpace
parameters = [Parameter.integer(name, 0, 24) for name in "ABCD"] + [Parameter.categorical("E", ("x", "y"))]
rules = [Constraint(lambda A, B, C, D: A + B + C + D < 90, "large"), Constraint.parse("A <= B or E == 'x'")]
space = SearchSpace(parameters, rules)
print(space.fingerprint, space.size, space.sample(np.random.default_rng(0), 3), space.nearest([9, 3, 24, 24, 1]))
"""


def test_fingerprints_are_the_same_in_every_process() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", PRINT_FINGERPRINT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_a_fingerprint_that_is_stored_stays_valid() -> None:
    # If this fails, every policy and snapshot that carries a fingerprint is orphaned: do it on purpose or not at all.
    assert gemm().fingerprint == "9f874be7eed2e073"


def test_repr_is_short() -> None:
    assert repr(gemm()) == "<SearchSpace of BLOCK_M, BLOCK_N, USE_SPLIT, SPLIT, LAYOUT: 256 combinations>"
