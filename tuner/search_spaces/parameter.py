"""Parameters: a name, the values it may take, its default, and when it matters at all."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.errors import SpaceError
from tuner.search_spaces.constraint import Constraint
from tuner.search_spaces.node import Columns, column
from tuner.types import Scalar

__all__ = ["Parameter"]

MOST_VALUES = 1_000_000
MOST_VALUES_SHOWN = 20
# What was checked once is kept where there are up to so many values: spaces of many workloads hold the same few lists.
MOST_VALUES_KEPT = 256
_UNMISTAKABLE = frozenset({bool, int, str, type(None)})

Identity = tuple[type, Scalar]


def identity(value: Scalar) -> Identity:
    """Return what tells `value` from others as JSON does: 1, True and 1.0 differ, and so do 0.0 and -0.0."""
    kind = type(value)
    return (kind, repr(value)) if kind is float else (kind, value)


def plain(value: object) -> Scalar | None:
    """Return `value` as exactly a bool, int, float or str, also from a subclass such as an enum; None if it is none."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    # Not str(value): an enum may override what that shows, while JSON writes the text itself.
    return str.__str__(value) if isinstance(value, str) else None


@dataclass(frozen=True, init=False)
class Parameter:
    """One thing to choose: its name, its values, and its default.

    Attributes:
        name: What configs and constraints call it.
        values: What it may be, each once; 1, True and 1.0 are three values.
        default: Its value in the space's default config; the first value unless given.
        ordered: Whether neighbours in `values` are alike; true unless given where the values are numbers that rise
            or fall.
        when: A condition over other parameters. Where it does not hold, the parameter is inactive and stays at its
            default, so that every config names every parameter.

    Raises:
        SpaceError: there is no value, a value stands twice or is no scalar, or the default is not among them.

    Example:
        >>> block = Parameter.powers_of_two("BLOCK_M", 16, 128, default=64)
        >>> block.values, block.default, block.ordered
        ((16, 32, 64, 128), 64, True)
        >>> Parameter.integer("SPLIT", 1, 4, when=Constraint.parse("USE_SPLIT")).when.text
        'USE_SPLIT'
    """

    name: str
    values: tuple[Scalar, ...]
    default: Scalar
    ordered: bool
    when: Constraint | None
    # Compared too: without it, the values (0, 1) would equal (False, True).
    _indices: Mapping[Identity, int] = field(repr=False, hash=False)

    def __init__(
        self,
        name: str,
        values: Sequence[Scalar],
        default: Scalar | None = None,
        ordered: bool | None = None,
        when: Constraint | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise SpaceError(f"{name!r} is not a parameter's name; use a text of one character or more")
        if when is not None and name in when.parameters:
            raise SpaceError(f"the condition of {name} reads {name} itself; let it read other parameters only")
        if isinstance(values, tuple | list) and len(values) <= MOST_VALUES_KEPT:
            kinds = (type(default), *map(type, values))
            if _UNMISTAKABLE.issuperset(kinds):
                # Frozen as it is, it is filled at once: a request may wait for the search space of its workload.
                self.__dict__.update(_known(name, tuple(values), default, ordered, kinds), when=when)
                return
        self._fill(name, values, default, ordered, when)

    def _fill(
        self,
        name: str,
        values: Sequence[Scalar],
        default: Scalar | None,
        ordered: bool | None,
        when: Constraint | None,
    ) -> None:
        """Set all attributes, checked."""
        kept = _checked_values(name, values)
        indices = {identity(value): index for index, value in enumerate(kept)}
        if len(indices) < len(kept):
            twice = next(value for index, value in enumerate(kept) if indices[identity(value)] != index)
            raise SpaceError(f"{name} lists the value {twice!r} twice; list each value once")
        ordered = _ordered(kept) if ordered is None else ordered
        self.__dict__.update(name=name, values=kept, ordered=ordered, when=when, _indices=indices)
        self.__dict__["default"] = kept[0] if default is None else kept[self.index(default)]

    @classmethod
    def categorical(
        cls, name: str, values: Sequence[Scalar], default: Scalar | None = None, *, when: Constraint | None = None
    ) -> Parameter:
        """Return a parameter whose values have no order."""
        return cls(name, values, default, ordered=False, when=when)

    @classmethod
    def boolean(cls, name: str, default: bool = False, *, when: Constraint | None = None) -> Parameter:
        """Return a parameter that is False or True."""
        return cls(name, (False, True), default, ordered=False, when=when)

    @classmethod
    def integer(
        cls,
        name: str,
        low: int,
        high: int,
        step: int = 1,
        default: int | None = None,
        *,
        when: Constraint | None = None,
    ) -> Parameter:
        """Return a parameter of the whole numbers low, low + step, ... up to and including high."""
        if step < 1 or low > high:
            raise SpaceError(f"{name} has no values from {low} to {high} by {step}; use low <= high and step >= 1")
        values = range(low, high + 1, step)
        shared = tuple(values) if len(values) <= MOST_VALUES_KEPT else values
        return cls(name, shared, default, ordered=True, when=when)

    @classmethod
    def powers_of_two(
        cls, name: str, low: int, high: int, default: int | None = None, *, when: Constraint | None = None
    ) -> Parameter:
        """Return a parameter of the powers of two from low to high, both included."""
        for bound in (low, high):
            if bound < 1 or bound & (bound - 1):
                raise SpaceError(f"{name}: the bound {bound} is not a power of two; use 1, 2, 4, 8, ...")
        if low > high:
            raise SpaceError(f"{name} has no powers of two from {low} to {high}; use low <= high")
        exponents = range(low.bit_length() - 1, high.bit_length())
        return cls(name, tuple([1 << exponent for exponent in exponents]), default, ordered=True, when=when)

    def __len__(self) -> int:
        return len(self.values)

    def find(self, value: object) -> int | None:
        """Return the position of `value` in `values`, or None."""
        kind: type = type(value)
        if kind is int or kind is bool or kind is str:
            return self._indices.get((kind, value))  # type: ignore[arg-type]
        base = plain(value)
        return None if base is None else self._indices.get(identity(base))

    def index(self, value: object) -> int:
        """Return the position of `value` in `values`.

        Raises:
            SpaceError: it is not one of them; the message lists those that are.
        """
        index = self.find(value)
        if index is None:
            raise SpaceError(self.refusal(value))
        return index

    def refusal(self, value: object) -> str:
        """Return what is wrong with `value`, and which values there are."""
        shown = [str(allowed) if isinstance(allowed, int) else repr(allowed) for allowed in self.values]
        if len(shown) > MOST_VALUES_SHOWN:
            shown = [*shown[: MOST_VALUES_SHOWN - 2], "...", f"{shown[-1]} ({len(shown)} values)"]
        return f"{self.name}={value!r} is not one of its values; choose one of {', '.join(shown)}"

    @property
    def activation(self) -> Constraint | None:
        """The constraint that `when` implies: the parameter is active, or at its default."""
        if self.when is None:
            return None
        # A condition that is text is hashed by it; a function need not be hashable.
        made = _activation if self.when.text else _activation.__wrapped__
        return made(self.name, identity(self.default), self.when)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back.

        Raises:
            SpaceError: `when` is a Python function.
        """
        return {
            "name": self.name,
            "values": list(self.values),
            "default": self.default,
            "ordered": self.ordered,
            "when": self.when.to_json() if self.when else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Parameter:
        """Read back what `to_json` wrote."""
        when = data.get("when")
        return cls(
            data["name"],
            data["values"],
            data["default"],
            ordered=data["ordered"],
            when=Constraint.from_json(when) if when else None,
        )


class _Activation:
    """The condition that a parameter is active or has its default value."""

    def __init__(self, name: str, default: Scalar, when: Constraint) -> None:
        self.name, self.default, self.when = name, default, when
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(read, inspect.Parameter.POSITIONAL_OR_KEYWORD) for read in (name, *when.parameters)]
        )

    def __call__(self, value: Scalar, *read: Scalar) -> bool:
        if identity(value) == identity(self.default):
            return True
        return self.when.check(dict(zip(self.when.parameters, read, strict=True)))

    def many(self, columns: Columns) -> NDArray[np.bool_]:
        values = columns.arrays[self.name]
        if values.dtype in (np.bool_, np.int64):
            resting = values == self.default
        else:  # numpy holds that 1 == True and 0.0 == -0.0
            wanted = identity(self.default)
            resting = np.fromiter((identity(value) == wanted for value in values.tolist()), np.bool_, columns.length)
        result: NDArray[np.bool_] = resting | self.when.check_many(columns)
        return result


@functools.lru_cache(maxsize=4096)
def _known(
    name: str, values: tuple[Scalar, ...], default: Scalar | None, ordered: bool | None, kinds: tuple[type, ...]
) -> Mapping[str, Any]:
    """Return a parameter's attributes; `kinds` tell apart what Python holds to be equal, such as 1 and True."""
    parameter = Parameter.__new__(Parameter)
    parameter._fill(name, values, default, ordered, None)
    return parameter.__dict__


@functools.lru_cache(maxsize=4096)
def _activation(name: str, default: Identity, when: Constraint) -> Constraint:
    """Return the constraint that a parameter is at its default unless `when` holds."""
    value = default[1] if default[0] is not float else float(default[1])
    return Constraint(
        _Activation(name, value, when),
        f"{name} is inactive unless {when.text or when.reason}; leave it at its default {value!r}",
    )


def _checked_values(name: str, values: Sequence[Scalar]) -> tuple[Scalar, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise SpaceError(f"{name}: the values {values!r} are not a tuple or list; use one")
    if not values:
        raise SpaceError(f"{name} has no values; give it one or more")
    if len(values) > MOST_VALUES:
        raise SpaceError(f"{name} has {len(values)} values; {MOST_VALUES} are the most, use a larger step")
    kept = []
    for value in values:
        scalar = plain(value)
        if scalar is None:
            raise SpaceError(f"{name}: the value {value!r} is a {type(value).__name__}; use a bool, int, float or str")
        if isinstance(scalar, float) and not math.isfinite(scalar):
            raise SpaceError(f"{name}: the value {scalar} is not finite; JSON cannot carry it")
        kept.append(scalar)
    return tuple(kept)


def _ordered(values: tuple[Scalar, ...]) -> bool:
    array = column(values)
    if array.dtype not in (np.int64, np.float64):
        return False
    steps = [bool(array[later] > array[earlier]) for earlier, later in pairwise(range(len(values)))]
    return len(set(steps)) <= 1
