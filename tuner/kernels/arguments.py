"""The memory of a call: arrays between guards, and pages beyond which every access is fatal."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Arguments", "Place"]

Array = npt.NDArray[Any]

# Widest vector of any CPU we know; kernels may assume this alignment.
_ALIGNMENT = 64
_PAGE = mmap.PAGESIZE
# Inaccessible on both sides of each array's pages, so that a large overrun is caught too; it costs no memory.
_FORBIDDEN_BYTES = 1 << 20
# As numpy does for its own arrays: from so many bytes on, memory comes in huge pages, or streaming it would mostly
# measure the translation of addresses.
_HUGE_FROM_BYTES = 1 << 22
_HUGE_PAGE = 1 << 21
# What is in the accessible memory around an array, and must still be there after a call.
_GUARD = 0xA5
_PROT_NONE = 0

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_LIBC.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


class Place(StrEnum):
    """Where an array lies in its pages.

    In the middle, there is at least a page of guard pattern on both sides, so that a write beyond the array is found
    and named. At an end, the array touches a page that nobody may access, so that a read beyond it ends the process;
    at the right end, the last bytes before it, fewer than 64, hold the pattern where the alignment leaves any.
    """

    MIDDLE = "middle"
    LEFT = "left"
    RIGHT = "right"


class Arguments:
    """The arrays of one call: inputs, then outputs, each in pages of its own, aligned to 64 bytes.

    Args:
        inputs: The first inputs; others of the same shapes and dtypes may be filled in later.
        outputs: Shape and dtype of each output.
    """

    def __init__(self, inputs: Mapping[str, Array], outputs: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        self._inputs = {name: _Buffer(array.shape, array.dtype) for name, array in inputs.items()}
        self._outputs = {name: _Buffer(shape, np.dtype(dtype)) for name, (shape, dtype) in outputs.items()}
        self.fill(inputs)

    @property
    def inputs(self) -> dict[str, Array]:
        """The inputs where they lie now."""
        return {name: buffer.array for name, buffer in self._inputs.items()}

    @property
    def outputs(self) -> dict[str, Array]:
        """The outputs where they lie now."""
        return {name: buffer.array for name, buffer in self._outputs.items()}

    @property
    def pointers(self) -> list[int]:
        """Addresses of the arrays, inputs first, in the operator's order."""
        return [buffer.address for buffer in self._buffers]

    def copy(self) -> Arguments:
        """Return the same inputs in memory of their own, with outputs to be computed."""
        return Arguments(self.inputs, {name: (one.shape, one.dtype.str) for name, one in self.outputs.items()})

    def fill(self, inputs: Mapping[str, Array], place: Place = Place.MIDDLE) -> None:
        """Put all arrays at `place`, with a copy of `inputs`; the outputs' values are lost."""
        for name, buffer in self._inputs.items():
            buffer.move(place)
            buffer.array[...] = inputs[name]
        for buffer in self._outputs.values():
            buffer.move(place)

    def poison(self, byte: int) -> None:
        """Fill the outputs with `byte`, so that what a kernel does not write is seen."""
        for buffer in self._outputs.values():
            buffer.array.reshape(-1).view(np.uint8)[...] = byte

    def changed(self, inputs: Mapping[str, Array]) -> str | None:
        """Return the name of an input that does not hold the bits of `inputs` any more."""
        return next((name for name, buffer in self._inputs.items() if not same_bits(buffer.array, inputs[name])), None)

    def overrun(self) -> str | None:
        """Return which array's guards were written to, in words."""
        for kind, buffers in (("input", self._inputs), ("output", self._outputs)):
            for name, buffer in buffers.items():
                if not buffer.guarded():
                    return f"{kind} {name!r}: wrote outside of its {buffer.array.nbytes} bytes"
        return None

    @property
    def _buffers(self) -> Iterable[_Buffer]:
        return (*self._inputs.values(), *self._outputs.values())


def same_bits(one: Array, other: Array) -> bool:
    """Return whether two contiguous arrays of the same size hold the same bits; NaN equals itself then."""
    other = np.ascontiguousarray(other)
    return bool(_LIBC.memcmp(one.ctypes.data, other.ctypes.data, one.nbytes) == 0)


class _Buffer:
    """Pages for one array, inaccessible ones on both sides of them."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._shape, self._dtype = shape, dtype
        self._bytes = int(np.prod(shape)) * dtype.itemsize
        pages = -(-self._bytes // _PAGE) * _PAGE + 2 * _PAGE
        huge = self._bytes >= _HUGE_FROM_BYTES
        unit = _HUGE_PAGE if huge else _PAGE
        memory = mmap.mmap(-1, pages + 2 * _FORBIDDEN_BYTES + 2 * unit, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        everything = np.frombuffer(memory, np.uint8)
        base = everything.ctypes.data
        # Huge pages start at multiples of their size.
        start = -(-(base + _FORBIDDEN_BYTES) // unit) * unit - base
        self._pages = everything[start : start + pages]
        if huge and hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE, start, pages)
        _forbid(base, start)
        _forbid(base + start + pages, len(everything) - start - pages)
        self.move(Place.MIDDLE)

    def move(self, place: Place) -> None:
        """Let the array lie at `place`, with guards around it; its values are lost."""
        size = self._bytes
        room = len(self._pages) - size
        start = {Place.MIDDLE: _PAGE, Place.LEFT: 0, Place.RIGHT: room // _ALIGNMENT * _ALIGNMENT}[place]
        self._guards = self._pages[:start], self._pages[start + size :]
        for guard in self._guards:
            guard[...] = _GUARD
        self.array = self._pages[start : start + size].view(self._dtype).reshape(self._shape)
        self.address: int = self._pages.ctypes.data + start

    def guarded(self) -> bool:
        """Return whether the guards are as they were."""
        return all(bool(np.all(guard == _GUARD)) for guard in self._guards)


def _forbid(address: int, size: int) -> None:
    """Let no one read or write `size` bytes from `address` on, both whole pages."""
    if _LIBC.mprotect(address, size, _PROT_NONE):
        error = ctypes.get_errno()
        raise OSError(error, f"cannot protect the memory around an array: {os.strerror(error)}")
