"""Expressions: conditions over parameters written as text, in a small grammar that is parsed without `eval`."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tuner.errors import SpaceError
from tuner.search_spaces.node import (
    ARITHMETIC,
    COMPARISONS,
    Arithmetic,
    Choice,
    Columns,
    Comparison,
    Connective,
    Extremum,
    Literal,
    Magnitude,
    Membership,
    Name,
    Negation,
    Node,
    Not,
    truth,
)
from tuner.types import Scalar

__all__ = ["Expression"]

LONGEST_TEXT = 4096
DEEPEST_NESTING = 64

ALLOWED = (
    "use parameter names, numbers, strings, True, False, + - * / // % **, comparisons, and, or, not, "
    "in (...), not in (...), min, max, abs, and x if y else z"
)


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
        parser = _Parser(self.text)
        self._root = parser.root()
        self.names = tuple(parser.names)
        if not self.names:
            raise SpaceError(f"constraint {self.text!r} reads no parameter; name at least one")
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in self.names]
        )

    def __call__(self, *values: Scalar, **named: Scalar) -> bool:
        """Return whether the condition holds, the values in the order of `names` or by name."""
        return self.one({**dict(zip(self.names, values, strict=False)), **named})

    def one(self, values: Mapping[str, Scalar]) -> bool:
        """Return whether the condition holds for `values`, which may hold other names too."""
        return bool(self._root.one(values))

    def many(self, columns: Columns) -> NDArray[np.bool_]:
        """Return for each row whether the condition holds, exactly as calling it row by row would.

        Raises:
            InexactError: numpy cannot promise that; call it row by row.
        """
        return truth(self._root.many(columns), columns.length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __reduce__(self) -> tuple[type[Expression], tuple[str]]:
        return Expression, (self.text,)


class _Parser:
    """Turns text into nodes; whatever it does not know is refused."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise SpaceError(f"a constraint's expression is text, not a {type(text).__name__}; got {text!r}")
        if len(text) > LONGEST_TEXT:
            raise SpaceError(f"a constraint has {len(text)} characters; split it, {LONGEST_TEXT} are the most")
        self.text = text
        # A dict, for it keeps the order in which names are met.
        self.names: dict[str, None] = {}

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
        match node:
            case Arithmetic(left=Literal(), right=Literal()) | Negation(operand=Literal()):
                return self._folded(node)
        return node

    def _folded(self, node: Node) -> Node:
        try:
            value = node.one({})
        except (ArithmeticError, TypeError, ValueError) as error:
            raise self.refusal(f"a constant part cannot be computed, {error}") from error
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
                self.names[name] = None
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
