"""Correct first: kernels are called on several inputs, and their outputs compared with float64 references."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.arguments import Arguments, Place, same_bits
from tuner.kernels.bfloat16 import from_bfloat16
from tuner.types import Scalar

__all__ = ["Arguments", "Case", "Tolerance", "Verdict", "check"]

Array = npt.NDArray[Any]
Call = Callable[[Arguments], None]

# Values that are compared at a time: with what is computed of them, they stay in a cache.
_PART = 1 << 14

# All bits set is NaN in float32, float64 and bfloat16.
_NAN_BYTE = 0xFF
# Repeated, some ten million in float32 and in bfloat16: what was not written does not pass for a NaN.
_NUMBER_BYTE = 0x4B


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an output may be from the reference: |output - reference| <= absolute + relative * |reference|.

    Attributes:
        relative: Relative part.
        absolute: Absolute part, in the unit of the output.
        rel_error: Where it is given, it decides instead of the others: the largest absolute error of an output over its
            largest reference value.
    """

    relative: float = 1e-4
    absolute: float = 1e-5
    rel_error: float | None = None

    def allowed(self, reference: Array, largest: float) -> Array | float:
        """Return how far each value may be from `reference`, whose largest magnitude is `largest`."""
        if self.rel_error is None:
            return self.absolute + self.relative * np.abs(reference)
        return self.rel_error * largest

    def __str__(self) -> str:
        if self.rel_error is None:
            return f"{self.relative:g} relative, {self.absolute:g} absolute"
        return f"{self.rel_error:g} of the largest value"


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs, and the true outputs that belong to them.

    Attributes:
        distribution: What the inputs are like.
        inputs: By name.
        expected: By name, in float64.
    """

    distribution: str
    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found.

    Attributes:
        error: What is wrong, or an empty string.
        rel_error: Largest absolute error over the largest reference value, the worst of outputs and inputs.
        tolerance: What it was allowed to be, in words; empty if unknown.
    """

    error: str = ""
    rel_error: float = 0.0
    tolerance: str = ""

    @property
    def resources(self) -> dict[str, Scalar]:
        """What a measurement keeps of it: the tolerance, and the error, where it is a number at all."""
        error = {"rel_error": self.rel_error} if np.isfinite(self.rel_error) else {}
        return {**error, "tolerance": self.tolerance} if self.tolerance else {**error}


def check(
    calls: Sequence[Call],
    arguments: Arguments,
    cases: Iterable[Case],
    tolerance: Tolerance,
    places: Sequence[Place] = (Place.RIGHT,),
) -> list[Verdict]:
    """Call kernels on poisoned outputs, and compare each output with its reference and with itself.

    Each kernel is called on every case, and then on the first one again, at other addresses. It is wrong if an output
    is not what it should be, is not the same bits at the end, or if anything but the outputs was written to. Where the
    arrays lie at an end of their pages, a read beyond them ends the process.

    Args:
        calls: Each runs a kernel on the arguments.
        arguments: Where inputs and outputs lie; at the end they hold the inputs of the first case, at the last place.
        cases: What to call the kernels on, one after the other; only the first is kept.
        tolerance: How far an output may be from the true one.
        places: Where the arrays lie when the kernels are called on the first case again.

    Returns:
        A verdict for each kernel; of a wrong one, what was found first.
    """
    verdicts = [Verdict(tolerance=str(tolerance)) for _ in calls]
    kept: list[Mapping[str, Array]] = [{} for _ in calls]
    first: Case | None = None
    for case in cases:
        # The same addresses again, where other values lie now.
        arguments.fill(case.inputs)
        for i, call in enumerate(calls):
            if verdicts[i].error:
                continue
            found = _judge(call, arguments, case, tolerance, _NUMBER_BYTE if first else _NAN_BYTE)
            where = f"on inputs of the kind {case.distribution!r}: " if first and found.error else ""
            worst = max(found.rel_error, verdicts[i].rel_error)
            verdicts[i] = replace(verdicts[i], error=where + found.error, rel_error=worst)
            if first is None:
                kept[i] = {name: array.copy() for name, array in arguments.outputs.items()}
        first = first or case
    assert first is not None, "there is a case"
    for place in places:
        arguments.fill(first.inputs, place)
        for i, call in enumerate(calls):
            if not verdicts[i].error and (error := _repeat(call, arguments, first, kept[i], place)):
                verdicts[i] = replace(verdicts[i], error=error)
    return verdicts


def _judge(call: Call, arguments: Arguments, case: Case, tolerance: Tolerance, poison: int) -> Verdict:
    """Call a kernel, and compare its outputs with the reference."""
    arguments.poison(poison)
    call(arguments)
    if error := _trespass(arguments, case, Place.MIDDLE):
        return Verdict(error, np.inf)
    worst = 0.0
    for name, array in arguments.outputs.items():
        error, relative = _compare(name, array, case.expected[name], tolerance)
        worst = max(worst, relative)
        if error:
            return Verdict(error, worst)
    return Verdict("", worst)


def _repeat(call: Call, arguments: Arguments, case: Case, kept: Mapping[str, Array], place: Place) -> str:
    """Call a kernel once more, and return what is wrong if its outputs are not those that were kept."""
    arguments.poison(_NUMBER_BYTE)
    call(arguments)
    if error := _trespass(arguments, case, place):
        return error
    for name, array in arguments.outputs.items():
        if not same_bits(array, kept[name]):
            return f"output {name!r}: a second call on the same inputs gave another result"
    return ""


def _trespass(arguments: Arguments, case: Case, place: Place) -> str:
    """Return what a kernel wrote to besides its outputs, and undo it, or the next kernel would be blamed."""
    error = arguments.overrun() or ""
    if not error and (changed := arguments.changed(case.inputs)):
        error = f"input {changed!r} was written to"
    if error:
        arguments.fill(case.inputs, place)
    return error


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
    return (
        f"output {name!r}: {count} of {truth.size} values are wrong; the first, at {at}, "
        f"is {value:.6g} and should be {truth[first]:.6g} (tolerance {tolerance})"
    ), relative


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
        return ~(difference <= tolerance.allowed(reference, largest)), float(np.max(difference, initial=0.0))
    numbers = np.where(finite, reference, 0.0)
    with np.errstate(invalid="ignore"):
        difference = np.abs(actual - numbers)
        wrong = ~(difference <= tolerance.allowed(numbers, largest))
    wrong = np.where(finite, wrong, np.isfinite(actual) | (np.isinf(reference) & (actual != reference)))
    return wrong, float(np.max(difference[finite], initial=0.0))


def _numbers(array: Array) -> Array:
    return (from_bfloat16(array) if array.dtype == np.uint16 else array).astype(np.float64)
