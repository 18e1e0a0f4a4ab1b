from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import signal
from typing import Any

import numpy as np
import pytest

from tuner.kernels.arguments import Arguments, Place


@pytest.mark.parametrize("place", Place)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 7), (1 << 11, 1 << 10)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16"])
def test_arrays_are_aligned_wherever_they_lie(place: Place, shape: tuple[int, ...], dtype: str) -> None:
    inputs: dict[str, Any] = {name: np.full(shape, i, dtype) for i, name in enumerate("abc")}
    arguments = Arguments(inputs, {"out": (shape, dtype), "other": (shape, dtype)})
    arguments.fill(inputs, place)
    arguments.poison(0xFF)
    assert len(set(arguments.pointers)) == 5
    assert all(pointer % 64 == 0 for pointer in arguments.pointers)
    assert arguments.pointers == [a.ctypes.data for a in (*arguments.inputs.values(), *arguments.outputs.values())]
    assert all(np.array_equal(arguments.inputs[name], inputs[name]) for name in inputs)
    assert all(np.all(array.view(np.uint8) == 0xFF) for array in arguments.outputs.values())
    assert arguments.overrun() is None
    assert arguments.changed(inputs) is None


def test_other_inputs_lie_at_the_same_addresses() -> None:
    arguments = Arguments({"x": np.zeros(5)}, {})
    before = arguments.pointers
    arguments.fill({"x": np.ones(5)})
    assert arguments.pointers == before
    assert arguments.inputs["x"].tolist() == [1.0] * 5


def test_a_changed_bit_is_a_change_even_where_values_are_equal() -> None:
    inputs = {"x": np.array([1.0, np.nan, 0.0])}
    arguments = Arguments(inputs, {})
    assert arguments.changed(inputs) is None
    arguments.inputs["x"][2] = -0.0
    assert arguments.changed(inputs) == "x"


def read(place: Place, size: int, offset: int) -> None:
    """Read one byte of memory, so far from the start of an array of `size` bytes."""
    arguments = Arguments({"x": np.zeros(size, np.uint8)}, {"out": ((size,), "uint8")})
    arguments.fill({"x": np.zeros(size, np.uint8)}, place)
    for pointer in arguments.pointers:
        ctypes.string_at(pointer + offset, 1)


@pytest.mark.parametrize(
    ("place", "size", "offset", "fatal"),
    [
        (Place.RIGHT, 4096, 4095, False),
        (Place.RIGHT, 4096, 4096, True),
        (Place.RIGHT, 4096, 4096 + (1 << 20) - 1, True),
        # The rest of the last 64 bytes may be read: a vector that begins inside of the array may end outside of it.
        (Place.RIGHT, 100, 127, False),
        (Place.RIGHT, 100, 128, True),
        (Place.RIGHT, (1 << 22) + 64, (1 << 22) + 64, True),
        (Place.LEFT, 100, 0, False),
        (Place.LEFT, 100, -1, True),
        (Place.LEFT, 100, 1 - (1 << 20), True),
        (Place.MIDDLE, 100, -mmap.PAGESIZE, False),
        (Place.MIDDLE, 100, -mmap.PAGESIZE - 1, True),
        (Place.MIDDLE, 4096, 4096 + mmap.PAGESIZE - 1, False),
        (Place.MIDDLE, 4096, 4096 + mmap.PAGESIZE, True),
    ],
)
def test_a_read_beyond_an_end_is_fatal(place: Place, size: int, offset: int, fatal: bool) -> None:
    process = multiprocessing.get_context("spawn").Process(target=read, args=(place, size, offset))
    process.start()
    process.join()
    assert process.exitcode == (-signal.SIGSEGV if fatal else 0)
