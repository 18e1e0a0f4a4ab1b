"""The nearest workloads first, found among ten thousand within microseconds, with nothing but the standard library.

Distances are those of `tuner.nearby.distance`: doublings over numeric fields, everything else has to match. Tuned
shapes are many rows over few layers: workloads that differ in one field only, the one with the most values, lie on a
line, in which a bisection finds the nearest. Lines are compared by their other fields, at the speed of C where they are
few; where they are many, a tree of boxes over cells of them is searched best first (Hjaltason and Samet, *Distance
Browsing in Spatial Databases*, 1999).
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, TypeVar

from tuner.lookup.group import typed
from tuner.types import Scalar

__all__ = ["Neighbours"]

_LEAF = 80
"""So many lines are compared one by one: that takes as long as going down two or three levels."""

Coordinates = tuple[float, ...]
_What = TypeVar("_What")


@dataclass(slots=True)
class _Line:
    """Workloads that differ along one axis only, in its order, and their rows."""

    along: Sequence[float]
    rows: Sequence[int]


_Place = tuple[_Line, int, int, float]
"""A place in a line, the direction in which to go on from it, and how far the line is."""

_Placed = tuple[Coordinates, _Line]
_Cell = tuple[Coordinates, list[_Placed]]


@dataclass(slots=True)
class _Box:
    """What lies between two corners: two smaller boxes, divided along an axis, or lines and where they are."""

    low: Coordinates
    high: Coordinates
    boxes: tuple[_Box, _Box] | None = None
    axis: int = 0
    middle: float = 0.0
    points: Sequence[Coordinates] = ()
    lines: Sequence[_Line] = ()


class Neighbours:
    """Workloads with the same fields, to be found by nearness.

    Args:
        columns: The values of each field, in an order of fields that `nearest` keeps to.
        rows: The number that each workload goes by.

    Example:
        >>> near = Neighbours([[1, 8, 64], ["bf16", "bf16", "fp32"]], [10, 11, 12])
        >>> list(near.nearest([16, "bf16"]))
        [(1.0, 11), (4.0, 10)]
    """

    def __init__(self, columns: Sequence[Sequence[Scalar]], rows: Sequence[int]) -> None:
        fields = [_split(column) for column in columns]
        # What must match everywhere is no direction to be near in.
        logarithms = [logs for _, logs in fields if logs is not None]
        none: list[tuple[Any, ...]] = [()] * len(rows)
        # Without a number, all that match are one place.
        distinct = [len(set(logs)) for logs in logarithms]
        self._axis = distinct.index(max(distinct)) if distinct else 0
        along = logarithms.pop(self._axis) if logarithms else [0.0] * len(rows)
        points: Iterable[Coordinates] = zip(*logarithms, strict=True) if logarithms else none
        # Fields of numbers only have nothing that must match.
        mixed = [signature for signature, _ in fields if signature is not None]
        keys: Iterable[tuple[object, ...]] = zip(*mixed, strict=True) if mixed else none
        self._kinds = tuple((signature is not None, logs is not None) for signature, logs in fields)
        kinds: dict[tuple[object, ...], dict[Coordinates, list[int]]] = {}
        for at, (key, point) in enumerate(zip(keys, points, strict=True)):
            try:
                kinds[key][point].append(at)
            except KeyError:
                kinds.setdefault(key, {})[point] = [at]
        self._trees = {key: _over_lines(_lines(kind, along, rows)) for key, kind in kinds.items()}

    def nearest(self, values: Sequence[Scalar]) -> Iterator[tuple[float, int]]:
        """Return workloads that match `values`, each with its distance, the nearest first."""
        key: list[object] = []
        at: list[float] = []
        for value, (matches, reaches) in zip(values, self._kinds, strict=True):
            if reaches and type(value) is not bool and isinstance(value, int | float) and 0 < value < math.inf:
                at.append(math.log2(value))
                if matches:
                    key.append(None)
            elif matches:
                key.append(typed(value))
                if reaches:
                    at.append(0.0)
            else:
                return iter(())
        tree = self._trees.get(tuple(key))
        if tree is None:
            return iter(())
        along = at.pop(self._axis) if at else 0.0
        return _by_distance(tree, tuple(at), along)


def _by_distance(tree: _Box, at: Coordinates, along: float) -> Iterator[tuple[float, int]]:
    # An entry is a bound, a number that tells equals apart, and what is there: a box or a line to open, or a workload.
    heap: list[tuple[float, int, _Box | _Line | _Place]] = [(0.0, 0, tree)]
    count = 1
    while heap:
        bound, _, what = heapq.heappop(heap)
        places: tuple[_Place, ...]
        if isinstance(what, _Line):
            right = bisect_left(what.along, along)
            places = ((what, right - 1, -1, bound), (what, right, 1, bound))
        elif isinstance(what, tuple):
            line, place, step, away = what
            yield bound, line.rows[place]
            places = ((line, place + step, step, away),)
        else:
            box = what
            while box.boxes:
                # Into the half that is likely to be the nearer one, and the other one is left for later.
                low, high = box.boxes
                box, other = (low, high) if at[box.axis] < box.middle else (high, low)
                heapq.heappush(heap, (_to_box(other, at), count, other))
                count += 1
            heap.extend(
                zip(
                    map(math.dist, box.points, repeat(at)),
                    range(count, count + len(box.points)),
                    box.lines,
                    strict=True,
                )
            )
            heapq.heapify(heap)
            count += len(box.points)
            continue
        for entry in places:
            line, place, _, away = entry
            if 0 <= place < len(line.rows):
                heapq.heappush(heap, (math.hypot(away, line.along[place] - along), count, entry))
                count += 1


def _to_box(box: _Box, at: Coordinates) -> float:
    """Return how far the nearest place in a box is."""
    return math.dist(tuple(map(max, box.low, map(min, box.high, at))), at)


def _lines(kind: Mapping[Coordinates, list[int]], along: Sequence[float], rows: Sequence[int]) -> list[_Placed]:
    """Return the lines of workloads, given by where each is along the axis, and where the lines are."""
    placed = []
    for point, members in kind.items():
        members.sort(key=along.__getitem__)
        placed.append((point, _Line([along[at] for at in members], [rows[at] for at in members])))
    return placed


def _over_lines(lines: Sequence[_Placed]) -> _Box:
    if len(lines) <= _LEAF:
        return _over_points(lines)
    # Cells are one doubling wide: there are fewer of them to divide.
    cells: dict[Coordinates, list[_Placed]] = {}
    for line in lines:
        cells.setdefault(tuple(map(math.floor, line[0])), []).append(line)
    return _over_cells(list(cells.items()))


def _over_cells(cells: Sequence[_Cell]) -> _Box:
    if len(cells) == 1 or sum(len(cell[1]) for cell in cells) <= _LEAF:
        return _over_points([line for _, members in cells for line in members])
    low, high, axis = _halves(cells)
    return _joined(_over_cells(low), _over_cells(high), axis)


def _over_points(lines: Sequence[_Placed]) -> _Box:
    if len(lines) <= _LEAF:
        points = [point for point, _ in lines]
        corners = list(zip(*points, strict=True))
        low, high = tuple(map(min, corners)), tuple(map(max, corners))
        return _Box(low, high, points=points, lines=[line for _, line in lines])
    first, second, axis = _halves(lines)
    return _joined(_over_points(first), _over_points(second), axis)


def _joined(left: _Box, right: _Box, axis: int) -> _Box:
    low, high = tuple(map(min, left.low, right.low)), tuple(map(max, left.high, right.high))
    return _Box(low, high, (left, right), axis, (left.high[axis] + right.low[axis]) / 2)


def _halves(
    items: Sequence[tuple[Coordinates, _What]],
) -> tuple[list[tuple[Coordinates, _What]], list[tuple[Coordinates, _What]], int]:
    """Return two halves, divided across the axis along which the items reach furthest, and that axis."""
    corners = list(zip(*(item[0] for item in items), strict=True))
    reach = [max(corner) - min(corner) for corner in corners]
    axis = reach.index(max(reach))
    ordered = sorted(items, key=lambda item: item[0][axis])
    return ordered[: len(items) // 2], ordered[len(items) // 2 :], axis


def _split(column: Sequence[Scalar]) -> tuple[Sequence[object] | None, list[float] | None]:
    """Return what must match of a field, None if nothing, and the logarithms of what need not, None if nothing."""
    kinds = set(map(type, column))
    if kinds <= {int, float} and min(column) > 0:  # type: ignore[operator]
        return None, list(map(math.log2, column))  # type: ignore[arg-type]
    if kinds <= {str, bool}:
        return list(map(typed, column)), None
    positive = [type(value) is not bool and isinstance(value, int | float) and 0 < value < math.inf for value in column]
    signature = [None if far else typed(value) for value, far in zip(column, positive, strict=True)]
    logarithms = [
        math.log2(value) if far else 0.0  # type: ignore[arg-type]
        for value, far in zip(column, positive, strict=True)
    ]
    return signature, logarithms
