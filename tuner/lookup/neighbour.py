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
from operator import itemgetter
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
    """What lies between two corners: two smaller boxes, or workloads with their numbers."""

    low: Coordinates
    high: Coordinates
    boxes: tuple[_Box, ...] = ()
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
        logarithms = [field[1] for field in fields]
        none: list[tuple[Any, ...]] = [()] * len(rows)
        points: list[Coordinates] = list(zip(*logarithms, strict=True)) if columns else none
        cells: Iterable[Coordinates] = (
            zip(*(map(math.floor, column) for column in logarithms), strict=True) if columns else none
        )
        # Fields of numbers only have nothing that must match.
        mixed = [field[0] for field in fields if field[0] is not None]
        keys: Iterable[tuple[object, ...]] = zip(*mixed, strict=True) if mixed else none
        self._mixed = tuple(field[0] is not None for field in fields)
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
        for value, mixed in zip(values, self._mixed, strict=True):
            if isinstance(value, int | float) and type(value) is not bool and 0 < value < math.inf:
                at.append(math.log2(value))
                if mixed:
                    key.append(None)
            elif mixed:
                at.append(0.0)
                key.append(typed(value))
            else:
                return
        tree = self._trees.get(tuple(key))
        if tree is not None:
            yield from _by_distance(tree, tuple(at))


def _by_distance(tree: _Box, at: Coordinates) -> Iterator[tuple[float, int]]:
    # An entry is a bound, a number that tells equals apart, and a box to open or workloads in their order, of which the
    # first is at the bound.
    heap: list[tuple[float, int, _Box | Iterator[tuple[float, int]], int]] = [(0.0, 0, tree, -1)]
    count = 0
    while heap:
        bound, _, what, row = heapq.heappop(heap)
        if isinstance(what, _Box):
            for part in what.boxes:
                count += 1
                heapq.heappush(heap, (_to_box(part, at), count, part, -1))
            if not what.rows:
                continue
            what = iter(sorted(zip(map(math.dist, what.points, repeat(at)), what.rows, strict=True)))
        else:
            yield bound, row
        following = next(what, None)
        if following is not None:
            count += 1
            heapq.heappush(heap, (following[0], count, what, following[1]))


def _to_box(box: _Box, at: Coordinates) -> float:
    total = 0.0
    for low, high, here in zip(box.low, box.high, at, strict=True):
        if here < low:
            total += (low - here) ** 2
        elif here > high:
            total += (here - high) ** 2
    return math.sqrt(total)


def _over_cells(cells: Sequence[_Cell], points: Sequence[Coordinates], rows: Sequence[int]) -> _Box:
    if len(cells) == 1 or sum(len(cell[1]) for cell in cells) <= _LEAF:
        return _over_points([(points[at], at) for _, members in cells for at in members], rows)
    corners = list(zip(*(cell[0] for cell in cells), strict=True))
    ordered, middle = _ordered(cells, corners)
    return _joined(*(_over_cells(half, points, rows) for half in (ordered[:middle], ordered[middle:])))


def _over_points(points: Sequence[tuple[Coordinates, int]], rows: Sequence[int]) -> _Box:
    corners = list(zip(*(point for point, _ in points), strict=True))
    if len(points) <= _LEAF:
        low, high = tuple(map(min, corners)), tuple(map(max, corners))
        return _Box(low, high, points=[point for point, _ in points], rows=[rows[at] for _, at in points])
    ordered, middle = _ordered(points, corners)
    return _joined(*(_over_points(half, rows) for half in (ordered[:middle], ordered[middle:])))


def _joined(left: _Box, right: _Box) -> _Box:
    low, high = tuple(map(min, left.low, right.low)), tuple(map(max, left.high, right.high))
    return _Box(low, high, boxes=(left, right))


def _ordered(
    items: Sequence[tuple[Coordinates, _What]], corners: Sequence[Coordinates]
) -> tuple[list[tuple[Coordinates, _What]], int]:
    """Return items in the order along the direction in which they reach furthest, and where to divide them."""
    reach = [max(corner) - min(corner) for corner in corners]
    axis = itemgetter(reach.index(max(reach)))
    return sorted(items, key=lambda item: axis(item[0])), len(items) // 2


def _split(column: Sequence[Scalar]) -> tuple[Sequence[object] | None, list[float]]:
    """Return what must match of a field, None if nothing, and the logarithms of what need not."""
    if set(map(type, column)) <= {int, float} and min(column) > 0:  # type: ignore[operator]
        return None, list(map(math.log2, column))  # type: ignore[arg-type]
    signature: list[object] = []
    logarithms: list[float] = []
    for value in column:
        positive = _is_positive(value)
        signature.append(None if positive else typed(value))
        logarithms.append(math.log2(value) if positive else 0.0)  # type: ignore[arg-type]
    return signature, logarithms


def _is_positive(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
