"""Components: parameters that constraints connect, and every combination of their values that is valid.

A row is the positions of the values of a component's parameters, in the order of the space. Components are independent
of each other, so a space's valid configs are the product of its components' rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tuner.search_spaces.constraint import Constraint
from tuner.search_spaces.layered import LayeredComponent, TooWideError
from tuner.search_spaces.nearest import Nearest, ascending
from tuner.search_spaces.parameter import Parameter
from tuner.search_spaces.rank import uniform
from tuner.search_spaces.wide import WideComponent

__all__ = ["Component", "ListedComponent", "components"]

Indices = NDArray[Any]


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
        except TooWideError:
            found.append(WideComponent(axes, members, rules))
    return found


class ListedComponent:
    """A component whose rows are given, each once, in the order to keep."""

    def __init__(self, axes: tuple[int, ...], table: Indices) -> None:
        self.axes = axes
        self.table = np.asfortranarray(table)
        self.table.flags.writeable = False

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self.table)

    @cached_property
    def members(self) -> frozenset[tuple[int, ...]]:
        """The rows as tuples, to look one up."""
        return frozenset(map(tuple, self.table.tolist()))

    def rows(self, ranks: Indices) -> Indices:
        """Return the rows at `ranks`."""
        found: Indices = self.table[ranks]
        return found

    def draw(self, rng: np.random.Generator, count: int) -> Indices:
        """Return `count` rows, independent and uniform."""
        return self.rows(uniform(rng, self.count, count))

    def nearest(self, costs: Sequence[NDArray[np.float64]]) -> Nearest:
        """Yield every row by rising cost."""
        return ascending(self.table, costs)
