"""Correct first: kernels are called on several inputs, and their outputs compared with float64 references."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.arguments import Arguments, Place, same_bits
from tuner.kernels.bfloat16 import from_bfloat16
from tuner.kernels.judge import Case, Kind, Tolerance, Verdict, judge, wrong_values

__all__ = ["Arguments", "Case", "Tolerance", "Verdict", "check"]

Array = npt.NDArray[Any]
Call = Callable[[Arguments], None]

# Values that are compared at a time: with what is computed of them, they stay in a cache.
_PART = 1 << 14


def check(
    calls: Sequence[Call],
    arguments: Arguments,
    cases: Iterable[Case[Array]],
    tolerance: Tolerance,
    places: Sequence[Place] = (Place.RIGHT,),
) -> list[Verdict]:
    """Call kernels on arrays, as `judge` does; in the end at other addresses.

    Where the arrays lie at an end of their pages, a read beyond them ends the process.

    Args:
        calls: Each runs a kernel on the arguments.
        arguments: Where inputs and outputs lie; at the end they hold the inputs of the first case, at the last place.
        cases: What to call the kernels on, one after the other; only the first is kept.
        tolerance: How far an output may be from the true one.
        places: Where the arrays lie when the kernels are called on the first case again.

    Returns:
        A verdict for each kernel; of a wrong one, what was found first.
    """
    again = [functools.partial(arguments.fill, place=place) for place in places]
    return judge(calls, arguments, cases, tolerance, _ARRAYS, again)


def _compare(name: str, array: Array, reference: Array, tolerance: Tolerance) -> tuple[str, float]:
    """Return what is wrong with an output, and its largest error relative to the largest reference value.

    Where the reference is a number, the output has to be one; an infinity has to be the same, and where the reference
    is NaN, the output may be either NaN or infinite: something that is no number must not look like one.
    """
    flat, truth = array.reshape(-1), reference.reshape(-1)
    parts = [slice(start, start + _PART) for start in range(0, truth.size, _PART)]
    largest = max(_largest(truth[part]) for part in parts) or 1.0
    worst, count, first = 0.0, 0, -1
    for part in parts:
        wrong, difference = _differences(_numbers(flat[part]), truth[part], tolerance, largest)
        worst = max(worst, difference)
        if wrong.any():
            first = first if count else part.start + int(np.argmax(wrong))
            count += int(wrong.sum())
    relative = worst / largest if np.isfinite(worst) else np.inf
    if not count:
        return "", relative
    at = [int(index) for index in np.unravel_index(first, reference.shape)]
    value = float(_numbers(flat[first : first + 1])[0])
    return wrong_values(name, count, truth.size, at, value, float(truth[first]), tolerance), relative


def _largest(reference: Array) -> float:
    """Return the largest magnitude that is a finite number."""
    sizes = np.abs(reference)
    largest = float(np.max(sizes, initial=0.0))
    return largest if np.isfinite(largest) else float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))


def _differences(actual: Array, reference: Array, tolerance: Tolerance, largest: float) -> tuple[Array, float]:
    """Return which values are wrong, and the largest difference where the reference is a finite number."""
    finite = np.isfinite(reference)
    if finite.all():
        difference = np.abs(actual - reference)
        # Written so that a NaN counts as wrong.
        return ~(difference <= tolerance.allowed(np.abs(reference), largest)), float(np.max(difference, initial=0.0))
    numbers = np.where(finite, reference, 0.0)
    with np.errstate(invalid="ignore"):
        difference = np.abs(actual - numbers)
        wrong = ~(difference <= tolerance.allowed(np.abs(numbers), largest))
    wrong = np.where(finite, wrong, np.isfinite(actual) | (np.isinf(reference) & (actual != reference)))
    return wrong, float(np.max(difference[finite], initial=0.0))


def _numbers(array: Array) -> Array:
    return (from_bfloat16(array) if array.dtype == np.uint16 else array).astype(np.float64)


_ARRAYS: Kind[Array] = Kind(copy=np.copy, same_bits=same_bits, compare=_compare)
