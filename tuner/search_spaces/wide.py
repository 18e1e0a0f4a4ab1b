"""Wide components: connected parameters whose constraints read too much at once for layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.errors import SpaceError
from tuner.search_spaces.constraint import Constraint
from tuner.search_spaces.nearest import Nearest, ascending, distinct
from tuner.search_spaces.node import column
from tuner.search_spaces.parameter import Parameter
from tuner.search_spaces.rank import places
from tuner.search_spaces.rule import Rule

__all__ = ["WideComponent"]

Indices = NDArray[Any]
Mask = NDArray[np.bool_]

# Combinations walked through or drawn at once.
BLOCK = 2**16
# A wide component counts by walking through its product, up to this size: seconds with text, which numpy evaluates.
LARGEST_WALK = 2**28
# The same where a Python function has to be called for each combination.
LARGEST_WALK_OF_CALLS = 2**22
# Rejection sampling gives up where so many draws did not find what was asked for.
MOST_DRAWS = 2**24
# How many draws stand for the component when the nearest row is asked for, and how many of them are pulled closer.
NEAREST_DRAWS = 512
NEAREST_PULLED = 8


class WideComponent:
    """A component whose constraints read so much at once that it has no layers: drawn by rejection, listed by walking.

    `draw` is exactly uniform, and raises where valid rows are too rare to be met. `count` walks through the product of
    the values, and raises where that is larger than 2^28 (2^22 if a function must be called for each). `nearest` is
    the best of a few hundred draws, pulled closer one parameter at a time, and need not be the nearest of all.
    """

    def __init__(self, axes: tuple[int, ...], members: Sequence[Parameter], constraints: Sequence[Constraint]) -> None:
        self.axes = axes
        self._sizes = [len(member) for member in members]
        self._values = [column(member.values) for member in members]
        self._rules = [Rule.of(constraint, members) for constraint in constraints]
        self._names = ", ".join(member.name for member in members)

    @cached_property
    def count(self) -> int:
        """The exact number of valid rows.

        Raises:
            SpaceError: there are too many combinations to walk through.
        """
        product = math.prod(self._sizes)
        calls = any(rule.table is None and not rule.constraint.vectorised for rule in self._rules)
        if product > (LARGEST_WALK_OF_CALLS if calls else LARGEST_WALK):
            raise SpaceError(
                f"the {product} combinations of {self._names} are too many to count; sample the space, write its "
                "functions as expressions, or split the constraints so that each reads fewer parameters"
            )
        return sum(len(block) for block in self.walk())

    def rows(self, ranks: Indices) -> Indices:
        """Refuse: a wide component does not know the row at a rank."""
        raise SpaceError(f"the combinations of {self._names} are too many to be numbered; iterate or sample the space")

    def walk(self) -> Iterator[Indices]:
        """Yield the valid rows in blocks, the last axis fastest."""
        product = math.prod(self._sizes)
        for start in range(0, product, BLOCK):
            block = np.stack(places(start, min(BLOCK, product - start), self._sizes), axis=1)
            yield block[self._valid(block)]

    def draw(self, rng: np.random.Generator, count: int) -> Indices:
        """Return `count` rows, independent and uniform.

        Raises:
            SpaceError: 2^24 draws did not meet so many valid rows.
        """
        found: list[Indices] = []
        missing, drawn = count, 0
        while missing > 0:
            if drawn >= MOST_DRAWS:
                raise SpaceError(
                    f"only {count - missing} of {drawn} draws of {self._names} met the constraints; split the "
                    "constraints so that each reads fewer parameters, or ask for fewer configs"
                )
            block = rng.integers(self._sizes, size=(BLOCK if drawn else max(4 * missing, 1024), len(self._sizes)))
            drawn += len(block)
            found.append(block[self._valid(block)][:missing])
            missing -= len(found[-1])
        return np.concatenate(found)

    def nearest(self, costs: Sequence[NDArray[np.float64]]) -> Nearest:
        """Yield some rows by rising cost, the same ones for the same costs."""
        drawn = self.draw(np.random.default_rng(0), NEAREST_DRAWS)
        best = [row for _, row in distinct(ascending(drawn, costs))]
        pulled = [self._pulled(row, costs) for row in best[:NEAREST_PULLED]]
        return distinct(ascending(np.array(pulled + best), costs))

    def _pulled(self, row: tuple[int, ...], costs: Sequence[NDArray[np.float64]]) -> tuple[int, ...]:
        current = np.array(row)
        moved = True
        while moved:
            moved = False
            for axis, cost in enumerate(costs):
                cheaper = [value for value in np.argsort(cost, kind="stable") if cost[value] < cost[current[axis]]]
                trials = np.tile(current, (len(cheaper), 1))
                trials[:, axis] = cheaper
                valid = trials[self._valid(trials)]
                if len(valid):
                    current, moved = valid[0], True
        return tuple(current.tolist())

    def _valid(self, block: Indices) -> Mask:
        valid = np.ones(len(block), dtype=np.bool_)
        for rule in self._rules:
            valid &= rule.holds(dict(enumerate(block.T)), self._values)
        return valid
