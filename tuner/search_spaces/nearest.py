"""Rows by rising cost: of one table, and of several independent parts together."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Nearest", "ascending", "combined", "distinct"]

# Few rows are wanted as a rule, so tables are sorted and read a part at a time; the first part has so many rows.
PART = 64

Nearest = Iterator[tuple[float, tuple[int, ...]]]


def ascending(table: NDArray[Any], costs: Sequence[NDArray[np.float64]]) -> Nearest:
    """Yield the rows of `table` by rising cost, the first of the table first among equals."""
    total = np.zeros(len(table))
    for axis, cost in enumerate(costs):
        total += cost[table[:, axis]]
    reached, part = -np.inf, PART
    while reached < np.inf:
        beyond = np.flatnonzero(total > reached)
        if len(beyond) > part:
            limit = float(np.partition(total[beyond], part - 1)[part - 1])
            beyond = beyond[total[beyond] <= limit]
        else:
            limit = np.inf
        ranks = beyond[np.argsort(total[beyond], kind="stable")]
        for start in range(0, len(ranks), PART):
            some = ranks[start : start + PART]
            yield from zip(total[some].tolist(), map(tuple, table[some].tolist()), strict=True)
        reached, part = limit, part * 8


def distinct(nearest: Nearest) -> Nearest:
    """Yield each row once, where it comes first."""
    seen = set()
    for cost, row in nearest:
        if row not in seen:
            seen.add(row)
            yield cost, row


def combined(streams: Sequence[Nearest]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield one row of each stream, by rising sum of their costs; each stream rises by itself."""
    seen: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in streams]

    def at(stream: int, place: int) -> tuple[float, tuple[int, ...]] | None:
        if place == len(seen[stream]):
            following = next(streams[stream], None)
            if following is None:
                return None
            seen[stream].append(following)
        return seen[stream][place]

    if any(at(stream, 0) is None for stream in range(len(streams))):
        return
    heap = [(math.fsum(rows[0][0] for rows in seen), (0,) * len(streams))]
    while heap:
        total, places = heapq.heappop(heap)
        yield tuple(seen[stream][place][1] for stream, place in enumerate(places))
        # Only streams from the last one moved on may move: so each combination is pushed once.
        moved = max((stream for stream, place in enumerate(places) if place), default=0)
        for stream in range(moved, len(streams)):
            following = at(stream, places[stream] + 1)
            if following is not None:
                after = (*places[:stream], places[stream] + 1, *places[stream + 1 :])
                heapq.heappush(heap, (total + following[0] - seen[stream][places[stream]][0], after))
