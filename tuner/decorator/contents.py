"""What tensors and arrays hold: kept, put back and compared, without importing what they are of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Contents", "equal"]

_RELATIVE = 1e-2
_ABSOLUTE = 1e-4
"""Of the largest value: sums in another order differ by so much where what they add up to is near zero."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Tensors of torch and arrays of numpy, with copies of what they held.

    Attributes:
        arrays: The tensors and arrays themselves.
        copies: What each held.

    Example:
        >>> array = np.zeros(3)
        >>> contents = Contents.of([array, "left out", 7])
        >>> array += 1
        >>> [held.tolist() for held in contents.now()], contents.restore(), array.tolist()
        ([[1.0, 1.0, 1.0]], None, [0.0, 0.0, 0.0])
    """

    arrays: Sequence[Any]
    copies: Sequence[Any]

    @classmethod
    def of(cls, values: Iterable[Any]) -> Contents:
        """Return the contents of those of `values` that are tensors or arrays."""
        arrays = [value for value in values if isinstance(value, np.ndarray) or _is_tensor(value)]
        return cls(arrays, [_copy(array) for array in arrays])

    def now(self) -> list[Any]:
        """Return copies of what they hold now."""
        return [_copy(array) for array in self.arrays]

    def restore(self) -> None:
        """Give them what they held."""
        for array, copy in zip(self.arrays, self.copies, strict=True):
            if isinstance(array, np.ndarray):
                if array.flags.writeable:
                    np.copyto(array, copy)
            else:
                array.detach().copy_(copy)


def equal(one: Any, other: Any) -> bool:
    """Return whether two results are as good as each other.

    Tensors and arrays are if they have the same shape and dtype, and no number is off by more than a hundredth and a
    ten-thousandth of the largest; NaN and infinity have to be in the same places. All else has to be equal.

    Example:
        >>> equal(np.array([1.0, 100.0]), np.array([1.005, 100.0])), equal([1, "a"], [1, "b"])
        (True, False)
    """
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(equal, one, other))
    if _is_tensor(one) and _is_tensor(other):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if not one.dtype.is_floating_point:
            return bool((one == other).all())
        ours, theirs = one.detach().float(), other.detach().float()
        finite = theirs[theirs.isfinite()].abs()
        absolute = _ABSOLUTE * float(finite.max()) if finite.numel() else 0.0
        return bool(ours.allclose(theirs, rtol=_RELATIVE, atol=absolute, equal_nan=True))
    if hasattr(one, "__array__") and hasattr(other, "__array__"):
        ours, theirs = np.asarray(one), np.asarray(other)
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return False
        if not np.issubdtype(ours.dtype, np.inexact):
            return bool(np.array_equal(ours, theirs))
        finite = np.abs(theirs[np.isfinite(theirs)])
        absolute = _ABSOLUTE * float(finite.max()) if finite.size else 0.0
        return bool(np.allclose(ours, theirs, rtol=_RELATIVE, atol=absolute, equal_nan=True))
    return bool(one == other)


def _is_tensor(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("clone", "copy_", "detach", "dtype"))


def _copy(array: Any) -> Any:
    return array.copy() if isinstance(array, np.ndarray) else array.detach().clone()
