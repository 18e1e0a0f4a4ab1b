"""Ranks: combinations by number, the last of the parts fastest, and uniform draws of such numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["places", "uniform"]

# numpy counts in int64 up to here, and in Python's integers beyond: slower, and exact.
EXACT = 2**62


def places(start: int, length: int, sizes: Sequence[int]) -> list[NDArray[Any]]:
    """Return, for the `length` combinations from number `start` on, the place in each part: one array a part.

    The numbers may be beyond int64, the parts have `sizes` places.
    """
    digits = []
    for size in reversed(sizes):
        start, digit = divmod(start, size)
        digits.append(digit)
    # Only the offsets within the block are added up as arrays; the start's digits are carried in.
    carry = np.arange(length, dtype=np.int64 if max(sizes, default=0) < EXACT else object)
    found = []
    for size, digit in zip(reversed(sizes), digits, strict=True):
        total = carry + digit
        found.append(total % size)
        carry = total // size
    return found[::-1]


def uniform(rng: np.random.Generator, bound: int, count: int) -> NDArray[Any]:
    """Return `count` integers uniform in [0, bound): int64, or Python integers where the bound is beyond it."""
    if bound <= EXACT:
        return rng.integers(bound, size=count)
    bits = bound.bit_length()
    drawn: list[int] = []
    while len(drawn) < count:
        number = int.from_bytes(rng.bytes((bits + 7) // 8), "little") & ((1 << bits) - 1)
        if number < bound:
            drawn.append(number)
    return np.array(drawn, dtype=object)
