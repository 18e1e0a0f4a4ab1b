"""The parts of an expression, each evaluated for one config as Python does, or for many at once by numpy."""

# `one` and `many` are documented by Node; a literal looks at no config.
# ruff: noqa: D102

from __future__ import annotations

import ast
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.types import Scalar

__all__ = [
    "ARITHMETIC",
    "COMPARISONS",
    "Arithmetic",
    "Choice",
    "Columns",
    "Comparison",
    "Connective",
    "Extremum",
    "InexactError",
    "Literal",
    "Magnitude",
    "Membership",
    "Name",
    "Negation",
    "Node",
    "Not",
    "column",
    "truth",
]

LARGEST_EXPONENT = 64
LARGEST_POWER_BITS = 4096
# Whole numbers up to here are exact as float64 too, so numpy and Python agree on every operation.
EXACT = 2**53

Array = NDArray[Any]
Mask = NDArray[np.bool_]


class InexactError(Exception):
    """numpy might not give Python's answer here (overflow, division by zero, mixed types): evaluate one by one."""


def column(values: Sequence[Scalar]) -> Array:
    """Return `values` as an array: of bool, int64 or float64 where they are all of that type, of objects otherwise."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return np.array(values, dtype=np.bool_)
    if kinds == {int} and all(-EXACT < value < EXACT for value in values if isinstance(value, int)):
        return np.array(values, dtype=np.int64)
    if kinds == {float}:
        return np.array(values, dtype=np.float64)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@dataclass(frozen=True, eq=False)
class Columns:
    """The values of many configs, one array of equal length for each parameter.

    Example:
        >>> Columns({"A": column((1, 2, 3))}, 3).take(np.array([0, 2])).arrays["A"].tolist()
        [1, 3]
    """

    arrays: Mapping[str, Array]
    length: int

    def take(self, rows: Array) -> Columns:
        """Return the columns at `rows`, an array of row numbers."""
        return Columns({name: array[rows] for name, array in self.arrays.items()}, len(rows))


class Node(ABC):
    """A part of an expression; `one` answers for a single config, `many` for columns."""

    @abstractmethod
    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        """Return the value for one config, exactly as Python computes it."""

    @abstractmethod
    def many(self, columns: Columns) -> Array:
        """Return the values for many configs (an array, or one of no dimensions), equal to what `one` gives for each.

        Raises:
            InexactError: numpy cannot promise that.
        """


def _number(value: Scalar) -> bool | int | float:
    # Python repeats and formats strings with * and %; a short expression could then fill the memory.
    if isinstance(value, str):
        raise TypeError(f"{value!r} is not a number")
    return value


def _numbers(array: Array) -> Array:
    if array.dtype == object:
        raise InexactError
    # numpy adds bools as logical values; Python adds them as numbers.
    return array.astype(np.int64) if array.dtype == np.bool_ else array


def truth(array: Array, length: int) -> Mask:
    """Return `array` as `length` booleans."""
    return np.broadcast_to(array.astype(np.bool_), (length,))


def _largest(array: Array) -> int:
    return int(np.abs(array).max(initial=0))


def _power(left: Any, right: Any) -> Any:
    if abs(right) > LARGEST_EXPONENT:
        raise OverflowError(f"the exponent {right} is larger than {LARGEST_EXPONENT}")
    if isinstance(left, int) and left.bit_length() * right > LARGEST_POWER_BITS:
        raise OverflowError(f"a power has more than {LARGEST_POWER_BITS} bits")
    result = left**right
    if isinstance(result, complex):
        raise ArithmeticError("a root of a negative number is not a real number")
    return result


ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True)
class Literal(Node):
    """A number, a string, True or False."""

    value: Scalar

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        return self.value

    def many(self, columns: Columns) -> Array:
        return column((self.value,)).reshape(())


@dataclass(frozen=True)
class Name(Node):
    """The value of a parameter."""

    name: str

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        return values[self.name]

    def many(self, columns: Columns) -> Array:
        return columns.arrays[self.name]


@dataclass(frozen=True)
class Arithmetic(Node):
    """Two numbers combined by one of `+ - * / // % **`."""

    kind: type[ast.operator]
    left: Node
    right: Node
    _apply: Callable[[Any, Any], Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_apply", ARITHMETIC[self.kind])

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        left, right = self.left.one(values), self.right.one(values)
        if isinstance(left, str) or isinstance(right, str):
            left, right = _number(left), _number(right)
        result: Scalar = self._apply(left, right)
        return result

    def many(self, columns: Columns) -> Array:
        left, right = _numbers(self.left.many(columns)), _numbers(self.right.many(columns))
        whole = left.dtype == np.int64 and right.dtype == np.int64
        if self.kind in (ast.Div, ast.FloorDiv, ast.Mod):
            if not right.all():
                raise InexactError
        elif self.kind is ast.Pow:
            if not whole or right.min(initial=0) < 0 or _largest(right) > LARGEST_EXPONENT:
                raise InexactError
            if _largest(left) ** _largest(right) >= EXACT:
                raise InexactError
            return np.asarray(np.power(left, right))
        elif whole:
            largest = ARITHMETIC[ast.Mult if self.kind is ast.Mult else ast.Add](_largest(left), _largest(right))
            if largest >= EXACT:
                raise InexactError
        with np.errstate(all="ignore"):
            result = np.asarray(ARITHMETIC[self.kind](left, right))
        if not whole and not np.isfinite(result).all():
            raise InexactError
        return result


@dataclass(frozen=True)
class Negation(Node):
    """Minus a number."""

    operand: Node

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        return -_number(self.operand.one(values))

    def many(self, columns: Columns) -> Array:
        return np.asarray(-_numbers(self.operand.many(columns)))


@dataclass(frozen=True)
class Comparison(Node):
    """Two values compared; a chain of comparisons is an `All` of these."""

    kind: type[ast.cmpop]
    left: Node
    right: Node
    _apply: Callable[[Any, Any], Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_apply", COMPARISONS[self.kind])

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        return bool(self._apply(self.left.one(values), self.right.one(values)))

    def many(self, columns: Columns) -> Array:
        return _compare(self.kind, self.left.many(columns), self.right.many(columns))


def _compare(kind: type[ast.cmpop], left: Array, right: Array) -> Array:
    if left.dtype == object or right.dtype == object:
        left, right = left.astype(object), right.astype(object)
    try:
        return np.asarray(COMPARISONS[kind](left, right)).astype(np.bool_)
    except TypeError as error:  # such as a string with a number by <: some configs may still be comparable
        raise InexactError from error


@dataclass(frozen=True)
class Membership(Node):
    """Whether a value is in a tuple or list."""

    value: Node
    choices: tuple[Node, ...]

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        return self.value.one(values) in [choice.one(values) for choice in self.choices]

    def many(self, columns: Columns) -> Array:
        value = self.value.many(columns)
        result: Array = np.zeros(columns.length, dtype=np.bool_)
        for choice in self.choices:
            result = result | _compare(ast.Eq, value, choice.many(columns))
        return result


@dataclass(frozen=True)
class Connective(Node):
    """`and` (stops at the first part that does not hold) or `or` (stops at the first that holds), as True or False."""

    parts: tuple[Node, ...]
    stops_at: bool

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        for part in self.parts:
            if bool(part.one(values)) is self.stops_at:
                return self.stops_at
        return not self.stops_at

    def many(self, columns: Columns) -> Array:
        # Each part sees only the configs that no earlier part decided: `B == 0 or A % B == 0` never divides by zero.
        result = np.empty(columns.length, dtype=np.bool_)
        undecided = np.arange(columns.length)
        rest = columns
        for part in self.parts:
            held = truth(part.many(rest), rest.length)
            result[undecided] = held
            open_rows = np.flatnonzero(held != self.stops_at)
            if len(open_rows) == 0:
                break
            if len(open_rows) < rest.length:
                undecided, rest = undecided[open_rows], rest.take(open_rows)
        return result


@dataclass(frozen=True)
class Not(Node):
    """True where the operand does not hold."""

    operand: Node

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        return not self.operand.one(values)

    def many(self, columns: Columns) -> Array:
        return ~truth(self.operand.many(columns), columns.length)


@dataclass(frozen=True)
class Choice(Node):
    """`x if condition else y`."""

    condition: Node
    then: Node
    otherwise: Node

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        return self.then.one(values) if self.condition.one(values) else self.otherwise.one(values)

    def many(self, columns: Columns) -> Array:
        held = truth(self.condition.many(columns), columns.length)
        rows = np.flatnonzero(held), np.flatnonzero(~held)
        if len(rows[0]) == 0 or len(rows[1]) == 0:
            return (self.then if len(rows[0]) else self.otherwise).many(columns)
        then, otherwise = self.then.many(columns.take(rows[0])), self.otherwise.many(columns.take(rows[1]))
        if then.dtype != otherwise.dtype:
            raise InexactError
        result = np.empty(columns.length, dtype=then.dtype)
        result[rows[0]], result[rows[1]] = then, otherwise
        return result


@dataclass(frozen=True)
class Extremum(Node):
    """`min(...)` or `max(...)` of two or more values."""

    largest: bool
    operands: tuple[Node, ...]

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        # A list of mixed scalars is not ordered for a type checker; Python raises TypeError where it matters.
        seen: list[Any] = [operand.one(values) for operand in self.operands]
        result: Scalar = max(seen) if self.largest else min(seen)
        return result

    def many(self, columns: Columns) -> Array:
        pick = np.maximum if self.largest else np.minimum
        result = _numbers(self.operands[0].many(columns))
        for operand in self.operands[1:]:
            result = np.asarray(pick(result, _numbers(operand.many(columns))))
        return result


@dataclass(frozen=True)
class Magnitude(Node):
    """`abs(...)` of a number."""

    operand: Node

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        return abs(_number(self.operand.one(values)))

    def many(self, columns: Columns) -> Array:
        return np.asarray(np.abs(_numbers(self.operand.many(columns))))
