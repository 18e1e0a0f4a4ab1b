"""The nearest workloads first, found among ten thousand within microseconds, with nothing but the standard library.

Distances are those of `tuner.nearby.distance`: doublings over numeric fields, everything else has to match. Workloads
that match are put into cells one doubling wide, at the speed of C; a tree of boxes over cells, and over workloads of
crowded ones, is searched best first (Hjaltason and Samet, *Distance Browsing in Spatial Databases*, 1999).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, TypeVar

from tuner.lookup.group import typed
from tuner.types import Scalar

__all__ = ["Neighbours"]

_LEAF = 40
"""So many workloads are compared one by one: that takes as long as going down two or three levels."""

Coordinates = tuple[float, ...]
_Cell = tuple[Coordinates, list[int]]
_What = TypeVar("_What")


@dataclass(slots=True)
class _Box:
    """What lies between two corners: two smaller boxes, divided along an axis, or workloads and their rows."""

    low: Coordinates
    high: Coordinates
    boxes: tuple[_Box, _Box] | None = None
    axis: int = 0
    middle: float = 0.0
    points: Sequence[Coordinates] = ()
    rows: Sequence[int] = ()


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
        points: list[Coordinates] = list(zip(*logarithms, strict=True)) if logarithms else none
        cells: Iterable[Coordinates] = (
            zip(*(map(math.floor, column) for column in logarithms), strict=True) if logarithms else none
        )
        # Fields of numbers only have nothing that must match.
        mixed = [signature for signature, _ in fields if signature is not None]
        keys: Iterable[tuple[object, ...]] = zip(*mixed, strict=True) if mixed else none
        self._kinds = tuple((signature is not None, logs is not None) for signature, logs in fields)
        kinds: dict[tuple[object, ...], dict[Coordinates, list[int]]] = {}
        for at, (key, cell) in enumerate(zip(keys, cells, strict=True)):
            try:
                kinds[key][cell].append(at)
            except KeyError:
                kinds.setdefault(key, {})[cell] = [at]
        self._trees = {key: _over_cells(list(kind.items()), points, rows) for key, kind in kinds.items()}

    def nearest(self, values: Sequence[Scalar]) -> Iterator[tuple[float, int]]:
        """Yield workloads that match `values`, each with its distance, the nearest first."""
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
                return
        tree = self._trees.get(tuple(key))
        if tree is not None:
            yield from _by_distance(tree, tuple(at))


def _by_distance(tree: _Box, at: Coordinates) -> Iterator[tuple[float, int]]:
    # An entry is a bound, a number that tells equals apart, and what is there: a box to open, the distances of a box's
    # workloads with that box, or these in order. Most boxes are asked for their nearest workload at most, if at all; so
    # the others are put in order when they are.
    heap: list[tuple[float, int, _Box, list[float] | Iterator[tuple[float, int]] | None, int]]
    heap = [(0.0, 0, tree, None, 0)]
    count = 0
    while heap:
        bound, _, box, found, row = heapq.heappop(heap)
        if found is None:
            while box.boxes:
                # Into the half that is likely to be the nearer one, and the other one is left for later.
                low, high = box.boxes
                box, other = (low, high) if at[box.axis] < box.middle else (high, low)
                count += 1
                heapq.heappush(heap, (_to_box(other, at), count, other, None, 0))
            distances = list(map(math.dist, box.points, repeat(at)))
            least = min(distances)
            count += 1
            heapq.heappush(heap, (least, count, box, distances, box.rows[distances.index(least)]))
            continue
        yield bound, row
        if isinstance(found, list):
            first = found.index(bound)
            others = [pair for place, pair in enumerate(zip(found, box.rows, strict=True)) if place != first]
            found = iter(sorted(others))
        following = next(found, None)
        if following is not None:
            count += 1
            heapq.heappush(heap, (following[0], count, box, found, following[1]))


def _to_box(box: _Box, at: Coordinates) -> float:
    """Return how far the nearest place in a box is."""
    return math.dist(tuple(map(max, box.low, map(min, box.high, at))), at)


def _over_cells(cells: Sequence[_Cell], points: Sequence[Coordinates], rows: Sequence[int]) -> _Box:
    if len(cells) == 1 or sum(len(cell[1]) for cell in cells) <= _LEAF:
        return _over_points([(points[at], at) for _, members in cells for at in members], rows)
    low, high, axis = _halves(cells)
    return _joined(_over_cells(low, points, rows), _over_cells(high, points, rows), axis)


def _over_points(points: Sequence[tuple[Coordinates, int]], rows: Sequence[int]) -> _Box:
    if len(points) <= _LEAF:
        corners = list(zip(*(point for point, _ in points), strict=True))
        low, high = tuple(map(min, corners)), tuple(map(max, corners))
        return _Box(low, high, points=[point for point, _ in points], rows=[rows[at] for _, at in points])
    first, second, axis = _halves(points)
    return _joined(_over_points(first, rows), _over_points(second, rows), axis)


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
