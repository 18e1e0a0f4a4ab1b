"""Rules: constraints on the members of a component, turned into truth tables where these are small."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.search_spaces.constraint import Constraint
from tuner.search_spaces.node import Columns, column
from tuner.search_spaces.parameter import Parameter

__all__ = ["Rule", "truth_table"]

Indices = NDArray[Any]
Mask = NDArray[np.bool_]

# A constraint whose parameters have up to so many joint values becomes a truth table.
LARGEST_TABLE = 2**20
# Rows evaluated at once otherwise: the temporaries of a block stay within a few MiB.
BLOCK = 2**16


def truth_table(constraint: Constraint, parameters: Sequence[Parameter]) -> Mask:
    """Return whether `constraint` holds, one axis for each of `parameters` (all that it reads, in this order)."""
    shape = tuple(len(parameter) for parameter in parameters)
    arrays = {}
    for axis, parameter in enumerate(parameters):
        place = [1] * len(shape)
        place[axis] = -1
        arrays[parameter.name] = np.broadcast_to(column(parameter.values).reshape(place), shape).reshape(-1)
    return constraint.check_many(Columns(arrays, math.prod(shape))).reshape(shape)


@dataclass(frozen=True, eq=False)
class Rule:
    """A constraint on members of a component; its truth table where it has one, axes in the order of `reads`."""

    constraint: Constraint
    reads: tuple[int, ...]
    table: Mask | None

    @classmethod
    def of(cls, constraint: Constraint, members: Sequence[Parameter]) -> Rule:
        """Return the rule of `constraint` in the component of `members`."""
        position = {member.name: axis for axis, member in enumerate(members)}
        reads = tuple(position[name] for name in constraint.parameters)
        read = [members[axis] for axis in reads]
        small = math.prod(len(member) for member in read) <= LARGEST_TABLE
        return cls(constraint, reads, truth_table(constraint, read) if small else None)

    def holds(self, rows: Mapping[int, Indices], values: Sequence[Indices]) -> Mask:
        """Return for each row whether the constraint holds; `rows` has one array of positions a member."""
        if self.table is not None:
            found: Mask = self.table[tuple(rows[axis] for axis in self.reads)]
            return found
        names, length = self.constraint.parameters, len(rows[self.reads[0]])
        held = np.empty(length, dtype=np.bool_)
        for start in range(0, length, BLOCK):
            part = slice(start, min(start + BLOCK, length))
            arrays = {name: values[axis][rows[axis][part]] for name, axis in zip(names, self.reads, strict=True)}
            held[part] = self.constraint.check_many(Columns(arrays, part.stop - start))
        return held

    def allows(self, axis: int, states: Mapping[int, Indices]) -> Mask:
        """Return which values of `axis` may follow each state: those that some choice of the rest makes valid.

        `states` has the bound members; the result has shape (states, values), or (values,) where it reads none of them.
        """
        assert self.table is not None
        rest = tuple(place for place, read in enumerate(self.reads) if read != axis and read not in states)
        known = [read for read in self.reads if read == axis or read in states]
        projected: Mask = np.asarray(self.table.any(axis=rest)) if rest else self.table
        table = np.moveaxis(projected, known.index(axis), -1)
        found: Mask = table[tuple(states[read] for read in known if read != axis)]
        return found
