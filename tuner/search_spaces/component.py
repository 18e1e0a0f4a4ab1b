"""Components: parameters that constraints connect, and every combination of their values that is valid.

A row is the positions of the values of a component's parameters, in the order of the space. Components are independent
of each other, so a space's valid configs are the product of its components' rows.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count as counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tuner.errors import SpaceError
from tuner.search_spaces.constraint import Constraint
from tuner.search_spaces.expression import Columns, column
from tuner.search_spaces.parameter import Parameter

__all__ = ["Component", "LayeredComponent", "ListedComponent", "WideComponent", "components"]

Indices = NDArray[Any]
Mask = NDArray[np.bool_]

# A constraint whose parameters have up to so many joint values becomes a truth table.
LARGEST_TABLE = 2**20
# A layer with more edges makes its component a wide one; 16 Mi edges are 64 MiB.
MOST_EDGES = 2**24
# Up to so many rows, a component keeps all of them.
MOST_ROWS_KEPT = 1_000_000
# Rows evaluated at once: the temporaries of a block stay within a few MiB.
BLOCK = 2**16
# A wide component counts by walking through its product, up to this size.
LARGEST_WALK = 2**28
# Rejection sampling gives up where so many draws did not find what was asked for.
MOST_DRAWS = 2**24
# How many draws stand for a wide component when the nearest row is asked for, and how many of them are pulled closer.
NEAREST_DRAWS = 512
NEAREST_PULLED = 8

Nearest = Iterator[tuple[float, tuple[int, ...]]]


class Component(Protocol):
    """Connected parameters and their valid rows.

    Attributes:
        axes: The positions of the parameters in the space, ascending; a row's entries are in this order.
    """

    axes: tuple[int, ...]

    @property
    def count(self) -> int:
        """The exact number of valid rows."""

    def rows(self, ranks: Indices) -> Indices:
        """Return the rows at `ranks` (n integers below `count`) as an (n, axes) array of integers."""

    def draw(self, rng: np.random.Generator, count: int) -> Indices:
        """Return `count` independent rows, each uniform over the valid ones, as a (count, axes) array of integers."""

    def nearest(self, costs: Sequence[NDArray[np.float64]]) -> Nearest:
        """Yield rows by rising cost, the sum over the axes of the cost of each value."""


def components(parameters: Sequence[Parameter], constraints: Sequence[Constraint]) -> list[Component]:
    """Return the components of a space, each free parameter one of its own, in the order of their first parameter."""
    position = {parameter.name: axis for axis, parameter in enumerate(parameters)}
    group = list(range(len(parameters)))
    for constraint in constraints:
        read = {group[position[name]] for name in constraint.parameters}
        group = [min(read) if label in read else label for label in group]
    found: list[Component] = []
    for label in dict.fromkeys(group):
        axes = tuple(axis for axis, own in enumerate(group) if own == label)
        rules = [constraint for constraint in constraints if group[position[constraint.parameters[0]]] == label]
        members = [parameters[axis] for axis in axes]
        try:
            found.append(LayeredComponent(axes, members, rules))
        except _TooWideError:
            found.append(WideComponent(axes, members, rules))
    return found


def uniform(rng: np.random.Generator, bound: int, count: int) -> Indices:
    """Return `count` integers uniform in [0, bound): int64, or Python integers where the bound is beyond it."""
    if bound < 2**63:
        return rng.integers(bound, size=count)
    bits = bound.bit_length()
    drawn: list[int] = []
    while len(drawn) < count:
        number = int.from_bytes(rng.bytes((bits + 7) // 8), "little") & ((1 << bits) - 1)
        if number < bound:
            drawn.append(number)
    return np.array(drawn, dtype=object)


def truth_table(constraint: Constraint, parameters: Sequence[Parameter]) -> Mask:
    """Return whether `constraint` holds, one axis for each of `parameters` (all that it reads, in this order)."""
    shape = tuple(len(parameter) for parameter in parameters)
    arrays = {}
    for axis, parameter in enumerate(parameters):
        place = [1] * len(shape)
        place[axis] = -1
        arrays[parameter.name] = np.broadcast_to(column(parameter.values).reshape(place), shape).reshape(-1)
    return constraint.check_many(Columns(arrays, math.prod(shape))).reshape(shape)


class _TooWideError(Exception):
    """The layers of a component would not fit into memory."""


@dataclass(frozen=True, eq=False)
class _Rule:
    """A constraint on members of a component; its truth table where it has one, axes in the order of `reads`."""

    constraint: Constraint
    reads: tuple[int, ...]
    table: Mask | None

    @classmethod
    def of(cls, constraint: Constraint, members: Sequence[Parameter]) -> _Rule:
        position = {member.name: axis for axis, member in enumerate(members)}
        reads = tuple(position[name] for name in constraint.parameters)
        read = [members[axis] for axis in reads]
        small = math.prod(len(member) for member in read) <= LARGEST_TABLE
        return cls(constraint, reads, truth_table(constraint, read) if small else None)

    def holds(self, rows: Sequence[Indices], values: Sequence[Indices]) -> Mask:
        """Return for each row whether the constraint holds; `rows` and `values` have one array a member."""
        if self.table is not None:
            found: Mask = self.table[tuple(rows[axis] for axis in self.reads)]
            return found
        arrays = {
            name: values[axis][rows[axis]] for name, axis in zip(self.constraint.parameters, self.reads, strict=True)
        }
        return self.constraint.check_many(Columns(arrays, len(rows[self.reads[0]])))


@dataclass(frozen=True, eq=False)
class _Layer:
    """One more parameter bound.

    Attributes:
        axis: Which member of the component.
        next: For each state before and each value, the state after; -1 where no valid row lies that way.
        counts: For each state after, the number of ways to complete it.
    """

    axis: int
    next: NDArray[np.int32]
    counts: Indices


class LayeredComponent:
    """A component as a layered graph: one layer a parameter, each path from the first to the last a valid row.

    After some parameters are bound, only those matter that a constraint still to be decided reads: combinations that
    agree on these share a state. The number of states depends on how many parameters are open at once, not on the
    number of rows, so that large components are counted, sampled and searched without listing them. (This is variable
    elimination, and the graph a multi-valued decision diagram.)
    """

    def __init__(self, axes: tuple[int, ...], members: Sequence[Parameter], constraints: Sequence[Constraint]) -> None:
        self.axes = axes
        sizes = [len(member) for member in members]
        rules = [_Rule.of(constraint, members) for constraint in constraints]
        values = [column(member.values) for member in members]
        # Beyond int64, numpy counts in Python's integers: slower, and exact.
        exact = np.int64 if math.prod(sizes) < 2**62 else object
        self._layers = _counted(list(_steps(sizes, rules, values)), exact)
        self._count = int(self._layers[0].counts[-1]) if False else _total(self._layers)

    @property
    def count(self) -> int:
        return self._count
