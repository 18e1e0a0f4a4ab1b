"""Layered components: connected parameters bound one after the other, equal prospects merged."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count as counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.search_spaces.constraint import Constraint
from tuner.search_spaces.nearest import Nearest, ascending
from tuner.search_spaces.node import column
from tuner.search_spaces.parameter import Parameter
from tuner.search_spaces.rank import EXACT, uniform
from tuner.search_spaces.rule import Rule

__all__ = ["LayeredComponent", "TooWideError"]

Indices = NDArray[Any]

# A layer with more edges makes its component too wide; 4 Mi edges are 16 MiB, and about a second.
MOST_EDGES = 2**22
# Up to so many rows, a component keeps all of them.
MOST_ROWS_KEPT = 1_000_000
# Ranks followed at once beyond that.
BLOCK = 2**16


class TooWideError(Exception):
    """The layers of a component would not fit into memory."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """One more member bound.

    Attributes:
        axis: Which member.
        next: For each state before and each value, the state after; -1 where no valid row lies that way.
        ways: For each state after, the number of valid ways to go on; one more entry, 0, is what -1 finds.
    """

    axis: int
    next: NDArray[np.int32]
    ways: Indices


class LayeredComponent:
    """A component as a graph of layers: one layer a parameter, each path through all of them a valid row.

    Once some parameters are bound, only those matter that an undecided constraint still reads; combinations that agree
    on these share a state. So the work depends on how many parameters are open at once, not on the number of rows, and
    components of any number of rows are counted exactly, sampled uniformly and searched without listing them. (This is
    variable elimination; the graph is a multi-valued decision diagram.)

    Raises:
        TooWideError: so many parameters are open at once that the layers would not fit into memory.
    """

    def __init__(self, axes: tuple[int, ...], members: Sequence[Parameter], constraints: Sequence[Constraint]) -> None:
        self.axes = axes
        sizes = [len(member) for member in members]
        rules = [Rule.of(constraint, members) for constraint in constraints]
        steps = list(_steps(sizes, rules, [column(member.values) for member in members]))
        ways = np.ones(1, dtype=np.int64 if math.prod(sizes) < EXACT else object)
        layers = []
        for axis, following in reversed(steps):
            padded = np.append(ways, 0)
            through = padded[following]
            following[through == 0] = -1
            layers.append(_Layer(axis, following, padded))
            ways = through.sum(axis=1)
        self._layers = layers[::-1]
        self._count = int(ways[0])

    @property
    def count(self) -> int:
        """The exact number of valid rows."""
        return self._count

    def rows(self, ranks: Indices) -> Indices:
        """Return the rows at `ranks`; rank order is that of the layers, the first one slowest."""
        if self._count <= MOST_ROWS_KEPT:
            kept: Indices = self._table[ranks]
            return kept
        rows = np.empty((len(ranks), len(self.axes)), dtype=np.int64)
        for start in range(0, len(ranks), BLOCK):
            self._follow(ranks[start : start + BLOCK], rows[start : start + BLOCK])
        return rows

    def draw(self, rng: np.random.Generator, count: int) -> Indices:
        """Return `count` rows, independent and uniform."""
        return self.rows(uniform(rng, self._count, count))

    def nearest(self, costs: Sequence[NDArray[np.float64]]) -> Nearest:
        """Yield every row by rising cost."""
        return ascending(self._table, costs) if self._count <= MOST_ROWS_KEPT else self._paths(costs)

    @cached_property
    def _table(self) -> Indices:
        """Every row, by rank; column by column in memory, each entry as small as it can be."""
        states = np.zeros(1, dtype=np.int32)
        bound: dict[int, Indices] = {}
        dtype = np.min_scalar_type(max(layer.next.shape[1] for layer in self._layers) - 1)
        for layer in self._layers:
            following = layer.next[states]
            sources, values = np.nonzero(following >= 0)
            if len(sources) != len(states):  # else every state has one way on, and the columns stay as they are
                bound = {axis: array[sources] for axis, array in bound.items()}
            bound[layer.axis] = values.astype(dtype)
            states = following[sources, values]
        table = np.empty((self._count, len(self.axes)), dtype=dtype, order="F")
        for axis, array in bound.items():
            table[:, axis] = array
        table.flags.writeable = False
        return table

    def _follow(self, ranks: Indices, rows: Indices) -> None:
        states = np.zeros(len(ranks), dtype=np.int32)
        every = np.arange(len(ranks))
        left = ranks
        for layer in self._layers:
            following = layer.next[states]
            ways = layer.ways[following]
            ends = ways.cumsum(axis=1)
            values = (ends <= left[:, None]).sum(axis=1)
            left = left - ends[every, values] + ways[every, values]
            states = following[every, values]
            rows[:, layer.axis] = values

    def _paths(self, costs: Sequence[NDArray[np.float64]]) -> Nearest:
        """Yield rows by rising cost: best-first along the layers, guided by the exact cost of the cheapest way on."""
        through: list[NDArray[np.float64]] = []
        ahead = np.zeros(1)
        for layer in reversed(self._layers):
            edges = np.append(ahead, np.inf)[layer.next] + costs[layer.axis]
            through.append(edges)
            ahead = edges.min(axis=1)
        through.reverse()
        order = counter()
        # Among equals the deepest goes first, then the oldest: a complete row is found before its ties are explored.
        heap: list[tuple[float, int, int, float, int, tuple[int, ...]]] = [(float(ahead[0]), 0, 0, 0.0, 0, ())]
        while heap:
            total, _, _, spent, state, path = heapq.heappop(heap)
            if len(path) == len(self._layers):
                row = [0] * len(path)
                for layer, value in zip(self._layers, path, strict=True):
                    row[layer.axis] = value
                yield total, tuple(row)
                continue
            layer, edges = self._layers[len(path)], through[len(path)][state]
            for value in np.flatnonzero(np.isfinite(edges)).tolist():
                paid = spent + float(costs[layer.axis][value])
                entry = (spent + float(edges[value]), ~len(path), next(order), paid)
                heapq.heappush(heap, (*entry, int(layer.next[state, value]), (*path, value)))


def _ordering(sizes: Sequence[int], reads: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, list[int]]]:
    """Yield each member to bind with the members open after it, so that few combinations are open at any time."""
    bits = [sum(1 << axis for axis in read) for read in reads]
    remaining, bound = list(range(len(sizes))), 0
    while remaining:
        best: tuple[int, int, list[int]] | None = None
        for axis in remaining:
            after = bound | 1 << axis
            undecided = 0
            for bit in bits:
                if bit & ~after:
                    undecided |= bit
            still_open = [member for member in range(len(sizes)) if after & undecided & 1 << member]
            size = math.prod(sizes[member] for member in still_open)
            if best is None or size < best[0]:
                best = (size, axis, still_open)
        assert best is not None
        remaining.remove(best[1])
        bound |= 1 << best[1]
        yield best[1], best[2]


def _steps(
    sizes: Sequence[int], rules: Sequence[Rule], values: Sequence[Indices]
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Yield for each member in turn the states that its values lead to, by the state before; -1 is invalid."""
    states: dict[int, Indices] = {}
    length, bound = 1, set[int]()
    for axis, still_open in _ordering(sizes, [rule.reads for rule in rules]):
        bound.add(axis)
        if length * sizes[axis] > MOST_EDGES or math.prod(sizes[member] for member in still_open) >= EXACT:
            raise TooWideError
        allowed = np.ones((length, sizes[axis]), dtype=np.bool_)
        touching = [rule for rule in rules if axis in rule.reads]
        for rule in touching:
            if rule.table is not None:
                allowed &= rule.allows(axis, states)
        sources, chosen = np.nonzero(allowed)
        rows = {member: array[sources] for member, array in states.items()} | {axis: chosen}
        for rule in touching:
            if rule.table is None and bound.issuperset(rule.reads):
                held = rule.holds(rows, values)
                sources, rows = sources[held], {member: array[held] for member, array in rows.items()}
        key = np.zeros(len(sources), dtype=np.int64)
        for member in still_open:
            key = key * sizes[member] + rows[member]
        distinct, labels = _labelled(key, math.prod(sizes[member] for member in still_open))
        following = np.full((length, sizes[axis]), -1, dtype=np.int32)
        following[sources, rows[axis]] = labels
        yield axis, following
        length, states = len(distinct), {}
        for member in reversed(still_open):
            distinct, states[member] = np.divmod(distinct, sizes[member])


def _labelled(keys: Indices, bound: int) -> tuple[Indices, Indices]:
    """Return the distinct `keys`, ascending, and for each key its place among them; keys are below `bound`."""
    if bound > 4 * len(keys) + 1024:
        distinct, labels = np.unique(keys, return_inverse=True)
        return distinct, labels
    # Marking beats sorting where most of the possible keys occur.
    present = np.zeros(bound, dtype=np.bool_)
    present[keys] = True
    return np.flatnonzero(present), (np.cumsum(present) - 1)[keys]
