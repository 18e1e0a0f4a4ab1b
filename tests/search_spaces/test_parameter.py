"""Parameters: their values by JSON identity, their defaults, and messages that say what to do."""

from __future__ import annotations

from enum import IntEnum, StrEnum

import numpy as np
import pytest

from tuner.errors import SpaceError
from tuner.search_spaces import Constraint, Parameter
from tuner.types import Scalar


class Layout(StrEnum):
    ROW = "row"
    COLUMN = "column"


class Level(IntEnum):
    LOW = 1


def test_default_is_the_first_value() -> None:
    assert Parameter("A", (3, 1, 2)).default == 3


@pytest.mark.parametrize(
    ("values", "ordered"),
    [
        ((1, 2, 4), True),
        ((4, 2, 1), True),
        ((1, 4, 2), False),
        ((0.5, 1.5), True),
        ((False, True), False),
        (("a", "b"), False),
        ((1, 2.0), False),
        ((7,), True),
    ],
)
def test_order_is_read_from_the_values(values: tuple[Scalar, ...], ordered: bool) -> None:
    assert Parameter("A", values).ordered is ordered
    assert Parameter("A", values, ordered=not ordered).ordered is not ordered


def test_named_constructors() -> None:
    condition = Constraint.parse("B == 1")
    assert Parameter.boolean("A", True, when=condition) == Parameter("A", (False, True), True, False, condition)
    assert Parameter.integer("A", 2, 9, 3, default=5) == Parameter("A", (2, 5, 8), 5, True)
    assert Parameter.powers_of_two("A", 1, 8, when=condition) == Parameter("A", (1, 2, 4, 8), when=condition)
    assert Parameter.categorical("A", (1, 2)) == Parameter("A", (1, 2), ordered=False)


def test_values_are_told_apart_as_json_does() -> None:
    parameter = Parameter("A", (1, True, 1.0, "1", 0.0, -0.0))
    assert [parameter.index(value) for value in parameter.values] == [0, 1, 2, 3, 4, 5]
    assert Parameter("A", (0, 1)) != Parameter("A", (False, True))
    assert Parameter("A", (0, 1)).find(True) is None


def test_parameters_that_were_made_before_are_not_taken_for_others() -> None:
    """What was checked once is kept; what Python holds to be equal is not the same."""
    whole, switch, mixed = Parameter("A", (0, 1)), Parameter("A", (False, True)), Parameter("A", (0, True))
    assert [parameter.values for parameter in (whole, switch, mixed)] == [(0, 1), (False, True), (0, True)]
    assert [type(one.values[1]) for one in (whole, switch, mixed)] == [int, bool, bool]
    assert Parameter("A", (1, 2), default=1).default is Parameter("A", [1, 2]).default
    with pytest.raises(SpaceError, match="A=True is not one of its values"):
        Parameter("A", (1, 2), default=True)
    conditions = [Constraint.parse("B == 1"), Constraint.parse("B == 1", "as told")]
    first, second = (Parameter("A", (1, 2), when=condition) for condition in conditions)
    assert first.activation is Parameter("A", [1, 2], when=conditions[0]).activation
    assert (first.activation, second.activation) != (second.activation, first.activation)
    assert Parameter("A", (True, 2), when=conditions[0]).activation != first.activation
    assert Parameter("A", (-0.0, 0.0), when=conditions[0]).activation.check({"A": -0.0, "B": 2})  # type: ignore[union-attr]
    assert not Parameter("A", (-0.0, 0.0), when=conditions[0]).activation.check({"A": 0.0, "B": 2})  # type: ignore[union-attr]


def test_subclasses_of_scalars_count_as_what_json_writes() -> None:
    parameter = Parameter("A", (Layout.ROW, Layout.COLUMN, Level.LOW, np.float64(0.5)), default=Layout.COLUMN)
    assert [type(value) for value in parameter.values] == [str, str, int, float]
    assert parameter.default == "column"
    assert parameter.index("row") == parameter.index(Layout.ROW) == 0
    assert parameter.index(np.float64(0.5)) == 3
    assert parameter.find(np.int64(1)) is None
    assert parameter.find(None) is None
    assert parameter.find([1]) is None


def test_a_wrong_value_is_answered_by_the_right_ones() -> None:
    with pytest.raises(SpaceError, match=r"^BLOCK_M=48 is not one of its values; choose one of 16, 32, 64, 128$"):
        Parameter.powers_of_two("BLOCK_M", 16, 128).index(48)
    message = Parameter.integer("A", 1, 1000).refusal(0)
    assert message.endswith(", 18, ..., 1000 (1000 values)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", (1,)), "not a parameter's name"),
        ((3, (1,)), "not a parameter's name"),
        (("A", ()), "A has no values"),
        (("A", "abc"), "not a tuple or list"),
        (("A", {1, 2}), "not a tuple or list"),
        (("A", (1, 2, 1)), "value 1 twice"),
        (("A", (1, None)), "None is a NoneType"),
        (("A", (np.int64(1),)), "is a int64"),
        (("A", (1.0, float("nan"))), "nan is not finite"),
        (("A", (1, 2), 3), "A=3 is not one of its values; choose one of 1, 2"),
        (("A", (1, 2), True), "A=True is not one of its values"),
        (("A", (1, 2), 1, True, Constraint.parse("A == B")), "reads A itself"),
        (("A", range(2_000_000)), "2000000 values"),
    ],
)
def test_bad_parameters_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Parameter(*arguments)  # type: ignore[arg-type]


def test_bad_ranges_are_refused() -> None:
    with pytest.raises(SpaceError, match="bound 48 is not a power of two"):
        Parameter.powers_of_two("A", 16, 48)
    with pytest.raises(SpaceError, match="bound 0 is not a power of two"):
        Parameter.powers_of_two("A", 0, 16)
    with pytest.raises(SpaceError, match="from 16 to 8"):
        Parameter.powers_of_two("A", 16, 8)
    with pytest.raises(SpaceError, match="from 3 to 1 by 1"):
        Parameter.integer("A", 3, 1)
    with pytest.raises(SpaceError, match="from 1 to 3 by 0"):
        Parameter.integer("A", 1, 3, 0)


def test_json_round_trip() -> None:
    parameter = Parameter("A", (1, 1.0, True, "x"), 1.0, ordered=True, when=Constraint.parse("B > 2", "B is small"))
    assert Parameter.from_json(parameter.to_json()) == parameter


def test_a_parameter_is_immutable_and_hashable() -> None:
    parameter = Parameter("A", (1, 2))
    assert len({parameter, Parameter("A", (1, 2))}) == 1
    with pytest.raises(AttributeError):
        parameter.name = "B"  # type: ignore[misc]
