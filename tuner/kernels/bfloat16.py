"""bfloat16 in numpy, which has no such dtype: the upper half of a float32, stored as `uint16`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["from_bfloat16", "to_bfloat16"]


def to_bfloat16(array: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Return finite `array` as bfloat16 bits, rounded to nearest even.

    Example:
        >>> from_bfloat16(to_bfloat16(np.array([1.0, 1.00390625, -2.5]))).tolist()
        [1.0, 1.0, -2.5]
    """
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def from_bfloat16(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Return bfloat16 `bits` as float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
