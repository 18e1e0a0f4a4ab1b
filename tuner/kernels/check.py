"""Correct first: outputs are poisoned, computed, and compared with a float64 reference; NaN never passes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.bfloat16 import from_bfloat16
from tuner.types import Scalar

__all__ = ["Arguments", "Tolerance", "Verdict", "check"]

Array = npt.NDArray[Any]

# Widest vector of any CPU we know; kernels may assume this alignment.
_ALIGNMENT = 64
# Bytes on both sides of each output that must still hold the guard pattern after a call.
_GUARD_BYTES = 4096
_GUARD = 0xA5
# All bits set is NaN in float32, float64 and bfloat16.
_POISON = 0xFF


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an output may be from the reference: |output - reference| <= absolute + relative * |reference|.

    Attributes:
        relative: Relative part.
        absolute: Absolute part, in the unit of the output.
    """

    relative: float = 1e-4
    absolute: float = 1e-5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found.

    Attributes:
        error: What is wrong, or an empty string.
        rel_error: Largest absolute error over the largest reference value, the worst of the outputs.
    """

    error: str
    rel_error: float

    @property
    def resources(self) -> dict[str, Scalar]:
        """What a measurement keeps of it: the error, where it is a number at all."""
        return {"rel_error": self.rel_error} if np.isfinite(self.rel_error) else {}


class Arguments:
    """The arrays of one call: inputs, then outputs between guard regions, each aligned to 64 bytes."""

    def __init__(self, inputs: Mapping[str, Array], outputs: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        self.inputs = {name: _aligned(array) for name, array in inputs.items()}
        self._buffers = {name: _guarded(shape, np.dtype(dtype)) for name, (shape, dtype) in outputs.items()}
        self.outputs = {name: array for name, (_, array) in self._buffers.items()}

    @property
    def pointers(self) -> list[int]:
        """Addresses of the arrays, inputs first, in the operator's order."""
        return [array.ctypes.data for array in (*self.inputs.values(), *self.outputs.values())]

    def poison(self) -> None:
        """Fill the outputs with NaN, so that what a kernel does not write cannot pass, and restore the guards."""
        for raw, array in self._buffers.values():
            start = array.ctypes.data - raw.ctypes.data
            raw[:start] = raw[start + array.nbytes :] = _GUARD
            array.view(np.uint8)[...] = _POISON

    def checksums(self) -> dict[str, int]:
        """Return a checksum of each input; a kernel must leave them as they are."""
        return {name: zlib.crc32(array.data) for name, array in self.inputs.items()}

    def overrun(self) -> str | None:
        """Return the name of an output whose guard region was written to."""
        for name, (raw, array) in self._buffers.items():
            start = array.ctypes.data - raw.ctypes.data
            if np.any(raw[:start] != _GUARD) or np.any(raw[start + array.nbytes :] != _GUARD):
                return name
        return None


def check(
    call: Callable[[Arguments], None], arguments: Arguments, expected: Mapping[str, Array], tolerance: Tolerance
) -> Verdict:
    """Call a kernel twice on poisoned outputs, and compare each output with its reference and with itself.

    It is wrong if an output is not what it should be, is not the same bits the second time, or if anything but the
    outputs was written to.

    Args:
        call: Runs the kernel on the arguments.
        arguments: Inputs and outputs.
        expected: The true outputs in float64.
        tolerance: How far an output may be from them.
    """
    before = arguments.checksums()
    arguments.poison()
    call(arguments)
    if name := arguments.overrun():
        return Verdict(f"output {name!r}: wrote outside of its {arguments.outputs[name].nbytes} bytes", np.inf)
    after = arguments.checksums()
    if changed := [name for name in before if before[name] != after[name]]:
        return Verdict(f"input {changed[0]!r} was written to", np.inf)
    worst = 0.0
    for name, array in arguments.outputs.items():
        error, relative = _compare(name, array, expected[name], tolerance)
        worst = max(worst, relative)
        if error:
            return Verdict(error, worst)
    first = {name: array.copy() for name, array in arguments.outputs.items()}
    arguments.poison()
    call(arguments)
    for name, array in arguments.outputs.items():
        if not np.array_equal(array.view(np.uint8), first[name].view(np.uint8)):
            return Verdict(f"output {name!r}: a second call on the same inputs gave another result", worst)
    return Verdict("", worst)


def _compare(name: str, array: Array, reference: Array, tolerance: Tolerance) -> tuple[str, float]:
    """Return what is wrong with an output, and its largest error relative to the largest reference value."""
    actual = (from_bfloat16(array) if array.dtype == np.uint16 else array).astype(np.float64)
    difference = np.abs(actual - reference)
    # Written so that a NaN on either side counts as wrong.
    wrong = ~(difference <= tolerance.absolute + tolerance.relative * np.abs(reference))
    scale = float(np.max(np.abs(reference))) or 1.0
    relative = float(np.max(difference)) / scale if np.all(np.isfinite(difference)) else np.inf
    if not np.any(wrong):
        return "", relative
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"output {name!r}: {int(wrong.sum())} of {wrong.size} values are wrong; the first, at {list(first)}, "
        f"is {actual[first]:.6g} and should be {reference[first]:.6g} "
        f"(tolerance {tolerance.relative:g} relative, {tolerance.absolute:g} absolute)"
    ), relative


def _aligned(array: Array) -> Array:
    array = np.ascontiguousarray(array)
    if array.ctypes.data % _ALIGNMENT == 0:
        return array
    raw = np.empty(array.nbytes + _ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _guarded(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, Array]:
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.full(size + 2 * _GUARD_BYTES + _ALIGNMENT, _GUARD, dtype=np.uint8)
    start = _GUARD_BYTES + (-(raw.ctypes.data + _GUARD_BYTES) % _ALIGNMENT)
    return raw, raw[start : start + size].view(dtype).reshape(shape)
