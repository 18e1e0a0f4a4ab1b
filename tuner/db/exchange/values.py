"""Lists of values written in Python's syntax, as T1 files have them: parsed, never evaluated."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from tuner.errors import ExchangeError
from tuner.types import Scalar

__all__ = ["MOST_VALUES", "literal", "parse_values"]

MOST_VALUES = 100_000
"""A list of more is refused before it is made."""

_LONGEST_TEXT = 1 << 20
_LARGEST_NUMBER = 2**63
_MOST_EXPONENT = 64
_DEEPEST = 32
_ALLOWED = "a list of numbers, texts, True and False, range(...), or [... for x in range(...)]"

_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}

_Names = Mapping[str, Scalar]


def parse_values(text: str) -> tuple[Scalar, ...]:
    """Return the values that `text` lists.

    Raises:
        ExchangeError: `text` is something else; nothing of it is run.

    Example:
        >>> parse_values("[16, 32, 64]"), parse_values("list(range(1, 4))")
        ((16, 32, 64), (1, 2, 3))
        >>> parse_values("[2**i for i in range(4, 7)]")
        (16, 32, 64)
        >>> parse_values("__import__('os').listdir()")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        tuner.errors.ExchangeError: "__import__('os').listdir()" is not a list of values; write a list of numbers, ...
    """
    try:
        return _listed(_tree(text))
    except (_RefusedError, ArithmeticError, TypeError, ValueError) as error:
        reason = f" ({error})" if str(error) else ""
        raise ExchangeError(f"{_shown(text)} is not a list of values{reason}; write {_ALLOWED}") from error


def literal(tree: ast.expr) -> Any:
    """Return the value of a literal: a scalar, None, or lists, tuples and dicts of them.

    Raises:
        ExchangeError: it is none.
    """
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ExchangeError(f"{ast.unparse(tree)!r} is no literal") from error


class _RefusedError(Exception):
    """The text is not in the grammar."""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _tree(text: str) -> ast.expr:
    if len(text) > _LONGEST_TEXT:
        raise _RefusedError(f"it has {len(text)} characters")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _RefusedError from error


def _listed(tree: ast.expr) -> tuple[Scalar, ...]:
    match tree:
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return tuple(_scalar(part, {}) for part in parts)
        case ast.Call(func=ast.Name(id="list" | "tuple"), args=[inner], keywords=[]):
            return _listed(inner)
        case ast.Call(func=ast.Name(id="range")):
            return tuple(_range(tree))
        case ast.ListComp(
            elt=element,
            generators=[ast.comprehension(target=ast.Name(id=name), iter=source, ifs=[], is_async=0)],
        ):
            return tuple(_scalar(element, {name: value}) for value in _listed(source))
        case _:
            raise _RefusedError


def _range(tree: ast.Call) -> range:
    if tree.keywords or not 1 <= len(tree.args) <= 3:
        raise _RefusedError("range takes one to three whole numbers")
    numbers = [_scalar(part, {}) for part in tree.args]
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise _RefusedError("range takes whole numbers")
    found = range(*map(int, numbers))
    if next(islice(found, MOST_VALUES, None), None) is not None:
        raise _RefusedError(f"range has more than {MOST_VALUES} values")
    return found


def _scalar(tree: ast.expr, names: _Names, depth: int = 0) -> Scalar:
    if depth > _DEEPEST:
        raise _RefusedError("it is nested too deeply")
    match tree:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return _bounded(value)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _bounded(-_number(operand, names, depth))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            one, other = _number(left, names, depth), _number(right, names, depth)
            if isinstance(op, ast.Pow) and abs(other) > _MOST_EXPONENT:
                raise _RefusedError(f"an exponent is over {_MOST_EXPONENT}")
            return _bounded(_ARITHMETIC[type(op)](one, other))
        case _:
            raise _RefusedError


def _number(tree: ast.expr, names: _Names, depth: int) -> int | float:
    value = _scalar(tree, names, depth + 1)
    if isinstance(value, str):
        raise _RefusedError("texts have no arithmetic")
    return value


def _bounded(value: Any) -> Scalar:
    if isinstance(value, int) and abs(value) >= _LARGEST_NUMBER:
        raise _RefusedError("a whole number does not fit into 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise _RefusedError("a number is not finite")
    if not isinstance(value, bool | int | float | str):
        raise _RefusedError("a number is complex")
    return value
