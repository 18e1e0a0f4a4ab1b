"""Expressions over parameters: a small grammar, parsed without `eval`, evaluated one config or many at a time."""

from __future__ import annotations

import ast
import inspect
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.errors import SpaceError
from tuner.types import Scalar

__all__ = ["Columns", "Expression", "InexactError", "column"]

LONGEST_TEXT = 4096
DEEPEST_NESTING = 64
LARGEST_EXPONENT = 64
LARGEST_POWER_BITS = 4096
# Whole numbers up to here are exact as float64 too, so numpy and Python agree on every operation.
EXACT = 2**53

ALLOWED = (
    "use parameter names, numbers, strings, True, False, + - * / // % **, comparisons, and, or, not, "
    "in (...), not in (...), min, max, abs, and x if y else z"
)

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


def _truth(array: Array, length: int) -> Mask:
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
        return column((self.value,))[0:1].reshape(())


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

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        left, right = _number(self.left.one(values)), _number(self.right.one(values))
        result: Scalar = ARITHMETIC[self.kind](left, right)
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

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        return bool(COMPARISONS[self.kind](self.left.one(values), self.right.one(values)))

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
        return self.stops_at if any(bool(part.one(values)) is self.stops_at for part in self.parts) else (
            not self.stops_at
        )

    def many(self, columns: Columns) -> Array:
        # Each part sees only the configs that no earlier part decided: `B == 0 or A % B == 0` never divides by zero.
        result = np.empty(columns.length, dtype=np.bool_)
        undecided = np.arange(columns.length)
        rest = columns
        for part in self.parts:
            truth = _truth(part.many(rest), rest.length)
            result[undecided] = truth
            open_rows = np.flatnonzero(truth != self.stops_at)
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
        return ~_truth(self.operand.many(columns), columns.length)


@dataclass(frozen=True)
class Choice(Node):
    """`x if condition else y`."""

    condition: Node
    then: Node
    otherwise: Node

    def one(self, values: Mapping[str, Scalar]) -> Scalar:
        return self.then.one(values) if self.condition.one(values) else self.otherwise.one(values)

    def many(self, columns: Columns) -> Array:
        truth = _truth(self.condition.many(columns), columns.length)
        rows = np.flatnonzero(truth), np.flatnonzero(~truth)
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


class Expression:
    """A condition over parameters, written as text; called with their values, it says whether it holds.

    The grammar is Python's, cut down: names, numbers, strings, True, False, `+ - * / // % **`, comparisons and their
    chains, `and or not`, `in` and `not in` with a tuple or list, `min max abs`, `x if y else z`. `and` and `or` give
    True or False, arithmetic takes numbers only, an exponent is at most 64.

    Raises:
        SpaceError: `text` is not in the grammar, is too long or too deeply nested, or reads no parameter.

    Example:
        >>> fits = Expression("BLOCK_M * BLOCK_N <= 4096")
        >>> fits.names
        ('BLOCK_M', 'BLOCK_N')
        >>> fits(64, 64), fits(BLOCK_M=128, BLOCK_N=64)
        (True, False)
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip() if isinstance(text, str) else text
        self._root = _Parser(self.text).root()
        self.names: tuple[str, ...] = tuple(dict.fromkeys(_names(self._root)))
        if not self.names:
            raise SpaceError(f"constraint {self.text!r} reads no parameter; name at least one")
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in self.names]
        )

    def __call__(self, *values: Scalar, **named: Scalar) -> bool:
        """Return whether the condition holds, the values in the order of `names` or by name."""
        return bool(self._root.one({**dict(zip(self.names, values, strict=False)), **named}))

    def many(self, columns: Columns) -> Mask:
        """Return for each row whether the condition holds, exactly as calling it row by row would.

        Raises:
            InexactError: numpy cannot promise that; call it row by row.
        """
        return _truth(self._root.many(columns), columns.length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __reduce__(self) -> tuple[type[Expression], tuple[str]]:
        return Expression, (self.text,)


def _names(node: Node) -> list[str]:
    if isinstance(node, Name):
        return [node.name]
    found: list[str] = []
    for value in vars(node).values():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Node):
                found += _names(part)
    return found


class _Parser:
    """Turns text into nodes; whatever it does not know is refused."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise SpaceError(f"a constraint's expression is text, not a {type(text).__name__}; got {text!r}")
        if len(text) > LONGEST_TEXT:
            raise SpaceError(f"a constraint has {len(text)} characters; split it, {LONGEST_TEXT} are the most")
        self.text = text

    def root(self) -> Node:
        try:
            tree = ast.parse(self.text, mode="eval")
        except SyntaxError as error:
            raise SpaceError(f"constraint {self._shown} is not an expression: {error.msg}; {ALLOWED}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise SpaceError(f"constraint {self._shown} cannot be read: {error or type(error).__name__}") from error
        return self.node(tree.body, 0)

    @property
    def _shown(self) -> str:
        return repr(self.text if len(self.text) <= 120 else self.text[:117] + "...")

    def refusal(self, what: str) -> SpaceError:
        return SpaceError(f"constraint {self._shown}: {what}; {ALLOWED}")

    def node(self, tree: ast.expr, depth: int) -> Node:
        if depth > DEEPEST_NESTING:
            raise SpaceError(f"constraint {self._shown} is nested deeper than {DEEPEST_NESTING}; split it")
        node = self._node(tree, depth + 1)
        if isinstance(node, Arithmetic | Negation) and not _names(node):
            return self._folded(node)
        return node

    def _folded(self, node: Node) -> Node:
        try:
            value = node.one({})
        except (ArithmeticError, TypeError, ValueError) as error:
            raise self.refusal(str(error)) from error
        return self._literal(value)

    def _literal(self, value: object) -> Literal:
        if isinstance(value, int) and abs(value) >= 2**63:
            raise self.refusal("a whole number does not fit into 64 bits")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.refusal("a number is not finite")
        if not isinstance(value, bool | int | float | str):
            raise self.refusal(f"{value!r} is not a number, string, True or False")
        return Literal(value)

    def _node(self, tree: ast.expr, depth: int) -> Node:
        match tree:
            case ast.Constant(value=value):
                return self._literal(value)
            case ast.Name(id=name):
                return Name(name)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                return Arithmetic(type(op), self.node(left, depth), self.node(right, depth))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return Negation(self.node(operand, depth))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Not(self.node(operand, depth))
            case ast.BoolOp(op=op, values=parts):
                return Connective(tuple(self.node(part, depth) for part in parts), isinstance(op, ast.Or))
            case ast.Compare():
                return self._comparison(tree, depth)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return Choice(self.node(test, depth), self.node(body, depth), self.node(orelse, depth))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in ("min", "max", "abs"):
                return self._call(name, [self.node(arg, depth) for arg in args])
            case _:
                raise self.refusal(f"{type(tree).__name__} {_source(self.text, tree)!r} is not allowed")

    def _comparison(self, tree: ast.Compare, depth: int) -> Node:
        parts: list[Node] = []
        left = tree.left
        for op, right in zip(tree.ops, tree.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                if not isinstance(right, ast.Tuple | ast.List):
                    raise self.refusal("`in` takes a tuple or list of values")
                choices = tuple(self.node(choice, depth) for choice in right.elts)
                member = Membership(self.node(left, depth), choices)
                parts.append(Not(member) if isinstance(op, ast.NotIn) else member)
            elif type(op) in COMPARISONS:
                parts.append(Comparison(type(op), self.node(left, depth), self.node(right, depth)))
            else:
                raise self.refusal("`is` compares objects, not values; use ==")
            left = right
        return parts[0] if len(parts) == 1 else Connective(tuple(parts), stops_at=False)

    def _call(self, name: str, operands: list[Node]) -> Node:
        if name == "abs":
            if len(operands) != 1:
                raise self.refusal(f"abs takes one value, not {len(operands)}")
            return Magnitude(operands[0])
        if len(operands) < 2:
            raise self.refusal(f"{name} takes two values or more, not {len(operands)}")
        return Extremum(name == "max", tuple(operands))


def _source(text: str, tree: ast.expr) -> str:
    source = ast.get_source_segment(text, tree) or ""
    return source if len(source) <= 60 else source[:57] + "..."
