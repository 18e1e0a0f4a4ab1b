"""Constraints: what they read, what they say, and what happens when they raise."""

# Arguments are named as the parameters that they read.

from __future__ import annotations

import functools
import inspect
import pickle
from typing import Any

import numpy as np
import pytest

from tuner.errors import SpaceError
from tuner.search_spaces import Constraint
from tuner.search_spaces.node import Columns, column
from tuner.types import Scalar


def test_parameters_are_the_names_of_the_arguments() -> None:
    limit = 8

    def fits(B: int, A: int, limit: int = limit) -> bool:
        return limit >= A * B

    constraint = Constraint(fits, "too large")
    assert constraint.parameters == ("B", "A")
    assert constraint.text is None
    assert constraint.check({"A": 2, "B": 4, "C": 0})
    assert not constraint.check({"A": 3, "B": 4})


def test_text_is_kept() -> None:
    constraint = Constraint.parse("  A <= B ", "A is larger than B")
    assert constraint.text == "A <= B"
    assert constraint.parameters == ("A", "B")
    assert constraint.explain({"A": 2, "B": 1}) == "A is larger than B (A=2, B=1)"
    assert Constraint.parse("A <= B").explain({"A": 2, "B": 1}) == "A <= B does not hold (A=2, B=1)"


def test_a_combination_on_which_it_raises_does_not_hold() -> None:
    for constraint in (Constraint(lambda A, B: A % B == 0, "not a multiple"), Constraint.parse("A % B == 0")):
        assert not constraint.check({"A": 1, "B": 0})
        columns = Columns({"A": column((4, 1, 3)), "B": column((2, 0, 2))}, 3)
        assert constraint.check_many(columns).tolist() == [True, False, False]
        assert "raised ZeroDivisionError" in constraint.explain({"A": 1, "B": 0})


def test_functions_see_the_values_as_given() -> None:
    seen: list[Any] = []

    def record(A: Scalar) -> bool:
        seen.append(A)
        return True

    constraint = Constraint(record, "never")
    constraint.check_many(Columns({"A": column((1, True, 1.0, "x"))}, 4))
    assert [type(value) for value in seen] == [int, bool, float, str]
    seen.clear()
    constraint.check_many(Columns({"A": column((1, 2))}, 2))
    assert [type(value) for value in seen] == [int, int]


@pytest.mark.parametrize(
    ("holds", "message"),
    [
        (lambda: True, "reads no parameter"),
        (lambda *values: True, "takes \\*values"),
        (lambda **values: True, "takes \\*values"),
        (lambda *, A: True, "keyword only"),
        ("A < B", "use Constraint.parse"),
    ],
)
def test_functions_whose_arguments_name_no_parameters_are_refused(holds: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Constraint(holds, "reason")


def test_a_reason_is_required() -> None:
    with pytest.raises(SpaceError, match="needs a reason"):
        Constraint(lambda A: True, "")


def test_json_carries_text_only() -> None:
    constraint = Constraint.parse("A in (1, 2)", "A is odd")
    assert Constraint.from_json(constraint.to_json()) == constraint
    with pytest.raises(SpaceError, match=r"A, B \(too large\) is a Python function.*write it as an expression"):
        Constraint(lambda A, B: A < B, "too large").to_json()


def test_text_survives_pickling() -> None:
    constraint = pickle.loads(pickle.dumps(Constraint.parse("A < B", "order")))
    assert constraint == Constraint.parse("A < B", "order")
    assert constraint.check({"A": 1, "B": 2})


def test_answers_for_many_are_booleans() -> None:
    answers = Constraint(lambda A: A - 1, "A is 1").check_many(Columns({"A": column((0, 1, 2))}, 3))
    assert answers.dtype == np.bool_
    assert answers.tolist() == [True, False, True]


def test_arguments_are_read_as_inspect_reads_them() -> None:
    limit = 4

    def wrapped(A: int) -> bool:
        return A > 1

    def starred(A: int, *, bound: int = 2) -> bool:
        return bound < A

    @functools.wraps(wrapped)
    def wrapper(*values: int) -> bool:
        return wrapped(*values)

    def positional(A: int, /, B: int, limit: int = limit) -> bool:
        return limit > A + B

    functions: list[Any] = [wrapped, starred, wrapper, positional, lambda A, limit=limit: limit > A]
    for function in functions:
        signature = inspect.signature(function).parameters.values()
        expected = tuple(own.name for own in signature if own.default is own.empty)
        assert Constraint(function, "reason").parameters == expected
    refused: list[Any] = [lambda *A: True, lambda **A: True, lambda *, A: True, lambda A=1: True, lambda: True]
    for function in refused:
        with pytest.raises(SpaceError):
            Constraint(function, "reason")
