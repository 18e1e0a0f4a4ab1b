"""Constraints: what must hold between parameters, as a plain function or as text."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tuner.errors import SpaceError
from tuner.search_spaces.expression import Expression
from tuner.search_spaces.node import Columns, InexactError
from tuner.types import Scalar

__all__ = ["Constraint"]

_STARRED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


@runtime_checkable
class _Vectorised(Protocol):
    """A condition that answers for many configs at once."""

    def many(self, columns: Columns) -> NDArray[np.bool_]: ...


@dataclass(frozen=True)
class Constraint:
    """A condition that every valid config meets, with the reason to show where it does not.

    The names of the function's arguments say which parameters it reads; an argument that has a default is not a
    parameter, so that a limit can be bound (`lambda TILE, limit=limit: TILE <= limit`). The function must be pure. A
    combination on which it raises, such as a division by zero, does not hold.

    Attributes:
        holds: Takes the values of the parameters, returns whether they go together.
        reason: What is wrong where it does not hold.
        parameters: The names that `holds` reads.

    Raises:
        SpaceError: the arguments of `holds` do not name parameters.

    Example:
        >>> Constraint(lambda BLOCK, WARPS: BLOCK >= 32 * WARPS, "every warp needs 32 elements").parameters
        ('BLOCK', 'WARPS')
        >>> Constraint.parse("BLOCK >= 32 * WARPS").check({"BLOCK": 64, "WARPS": 4})
        False
    """

    holds: Callable[..., bool]
    reason: str
    parameters: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not callable(self.holds):
            raise SpaceError(f"a constraint needs a function, not {self.holds!r}; for text use Constraint.parse")
        if not isinstance(self.reason, str) or not self.reason:
            raise SpaceError("a constraint needs a reason to show where it does not hold; give it some text")
        object.__setattr__(self, "parameters", _parameters(self.holds, self.reason))

    @classmethod
    def parse(cls, text: str, reason: str = "") -> Constraint:
        """Return the constraint that the expression `text` holds; see `Expression` for the grammar.

        Raises:
            SpaceError: `text` is not in the grammar.
        """
        if isinstance(text, str) and isinstance(reason, str):
            return _parsed(text, reason)
        return cls(Expression(text), reason)

    @property
    def text(self) -> str | None:
        """The expression, or None for a Python function."""
        return self.holds.text if isinstance(self.holds, Expression) else None

    @property
    def vectorised(self) -> bool:
        """Whether numpy evaluates it for many configs at once; a Python function is called for each."""
        return isinstance(self.holds, _Vectorised)

    def check(self, values: Mapping[str, Scalar]) -> bool:
        """Return whether the constraint holds for these values; `values` may hold other names too."""
        holds = self.holds
        if not isinstance(holds, Expression):
            return self._call([values[name] for name in self.parameters])
        try:
            return holds.one(values)
        except Exception:
            return False

    def explain(self, values: Mapping[str, Scalar]) -> str:
        """Return the reason with the values that the constraint sees, and with what it raised if it did."""
        seen = ", ".join(f"{name}={values[name]!r}" for name in self.parameters)
        try:
            self.holds(*(values[name] for name in self.parameters))
        except Exception as error:
            return f"{self.reason} ({seen}; the constraint raised {type(error).__name__}: {error})"
        return f"{self.reason} ({seen})"

    def check_many(self, columns: Columns) -> NDArray[np.bool_]:
        """Return for each row of `columns` whether the constraint holds: one array operation for text, calls else."""
        if isinstance(self.holds, _Vectorised):
            try:
                return self.holds.many(columns)
            except InexactError:
                pass
        rows = zip(*(columns.arrays[name].tolist() for name in self.parameters), strict=True)
        return np.fromiter(map(self._call, rows), dtype=np.bool_, count=columns.length)

    def to_json(self) -> dict[str, str]:
        """Return plain data that `from_json` reads back.

        Raises:
            SpaceError: the constraint is a Python function.
        """
        if self.text is None:
            raise SpaceError(
                f"the constraint on {', '.join(self.parameters)} ({self.reason}) is a Python function, which JSON "
                "cannot carry; write it as an expression with Constraint.parse"
            )
        return {"text": self.text, "reason": self.reason}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Constraint:
        """Read back what `to_json` wrote."""
        return cls.parse(data["text"], data["reason"])

    def _call(self, values: Any) -> bool:
        try:
            return bool(self.holds(*values))
        except Exception:
            return False


@functools.lru_cache(maxsize=4096)
def _parsed(text: str, reason: str) -> Constraint:
    """Return the constraint, which never changes: spaces of many workloads hold the same few."""
    expression = Expression(text)
    return Constraint(expression, reason or f"{expression.text} does not hold")


def _parameters(holds: Callable[..., bool], reason: str) -> tuple[str, ...]:
    if isinstance(holds, Expression):
        return holds.names
    if isinstance(holds, FunctionType) and not holds.__dict__ and not holds.__code__.co_flags & _STARRED:
        # What `inspect` would tell, forty times quicker.
        code = holds.__code__
        names = code.co_varnames[: code.co_argcount - len(holds.__defaults__ or ())]
        if names and not code.co_kwonlyargcount:
            return names
    return _inspected(holds, reason)


def _inspected(holds: Callable[..., bool], reason: str) -> tuple[str, ...]:
    try:
        arguments = inspect.signature(holds).parameters.values()
    except (TypeError, ValueError) as error:
        raise SpaceError(f"constraint ({reason}): the arguments of {holds!r} cannot be read; use a def") from error
    names = []
    for argument in arguments:
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            raise SpaceError(f"constraint ({reason}) takes *{argument.name}; name each parameter that it reads")
        if argument.default is not argument.empty:
            continue
        if argument.kind is argument.KEYWORD_ONLY:
            raise SpaceError(f"constraint ({reason}) takes {argument.name} by keyword only; remove the *")
        names.append(argument.name)
    if not names:
        raise SpaceError(f"constraint ({reason}) reads no parameter; name the parameters as its arguments")
    return tuple(names)
