from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tuner.kernels.bfloat16 import to_bfloat16
from tuner.kernels.check import Arguments, Tolerance, Verdict, check

N = 100


def doubled(arguments: Arguments) -> None:
    arguments.outputs["out"][...] = 2 * arguments.inputs["x"]


def verdict(call: Callable[[Arguments], None], tolerance: Tolerance = Tolerance()) -> Verdict:  # noqa: B008
    x = np.random.default_rng(0).standard_normal(N, dtype=np.float32)
    return check(call, Arguments({"x": x}, {"out": ((N,), "float32")}), {"out": 2.0 * x.astype(np.float64)}, tolerance)


def test_a_right_result_passes_with_its_error() -> None:
    found = verdict(doubled)
    assert (found.error, found.rel_error) == ("", 0.0)
    assert found.resources == {"rel_error": 0.0}


def off_by(error: float) -> Callable[[Arguments], None]:
    def call(arguments: Arguments) -> None:
        doubled(arguments)
        arguments.outputs["out"][7] += error

    return call


def test_a_small_error_passes_and_is_told() -> None:
    found = verdict(off_by(1e-3), Tolerance(0, 1e-2))
    assert not found.error
    assert found.rel_error == pytest.approx(1e-3 / 4.5, rel=0.3)


def leave_one(arguments: Arguments) -> None:
    arguments.outputs["out"][:-1] = 2 * arguments.inputs["x"][:-1]


def infinite(arguments: Arguments) -> None:
    doubled(arguments)
    arguments.outputs["out"][3] = np.inf


def write_behind(arguments: Arguments) -> None:
    doubled(arguments)
    out = arguments.outputs["out"]
    ctypes.memset(out.ctypes.data + out.nbytes, 0, 1)


def write_before(arguments: Arguments) -> None:
    doubled(arguments)
    ctypes.memset(arguments.outputs["out"].ctypes.data - 1, 0, 1)


def overwrite_input(arguments: Arguments) -> None:
    doubled(arguments)
    arguments.inputs["x"][5] += 1e-4


class Counting:
    """Right, but for a bit that differs from call to call."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, arguments: Arguments) -> None:
        self._calls += 1
        doubled(arguments)
        arguments.outputs["out"][0] += 1e-6 * self._calls


class OnlyOnce:
    """Computes at the first call only, and hopes that its result is still there."""

    def __init__(self) -> None:
        self._done = False

    def __call__(self, arguments: Arguments) -> None:
        if not self._done:
            doubled(arguments)
        self._done = True


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (off_by(1.0), r"1 of 100 values are wrong; the first, at \[7\]"),
        (leave_one, r"1 of 100 values are wrong; the first, at \[99\], is nan"),
        (infinite, r"1 of 100 values are wrong; the first, at \[3\], is inf"),
        (lambda _: None, "100 of 100 values are wrong"),
        (write_behind, "wrote outside of its 400 bytes"),
        (write_before, "wrote outside of its 400 bytes"),
        (overwrite_input, "input 'x' was written to"),
        (Counting(), "a second call on the same inputs gave another result"),
        (OnlyOnce(), "a second call on the same inputs gave another result"),
    ],
)
def test_a_wrong_kernel_is_caught(call: Callable[[Arguments], None], message: str) -> None:
    found = verdict(call)
    assert found.error
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found.error)


def test_a_nan_that_belongs_there_does_not_pass_either() -> None:
    arguments = Arguments({}, {"out": ((2,), "float32")})
    found = check(lambda a: a.poison(), arguments, {"out": np.array([np.nan, 1.0])}, Tolerance())
    assert "2 of 2 values are wrong" in found.error
    assert found.resources == {}


def test_bfloat16_outputs_are_compared_as_numbers() -> None:
    def call(arguments: Arguments) -> None:
        arguments.outputs["out"][...] = to_bfloat16(np.array([1.0, -2.5]))

    arguments = Arguments({}, {"out": ((2,), "uint16")})
    assert not check(call, arguments, {"out": np.array([1.0, -2.5])}, Tolerance()).error
    assert check(call, arguments, {"out": np.array([1.0, -2.6])}, Tolerance()).error


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 7)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16"])
def test_arrays_are_aligned(shape: tuple[int, ...], dtype: str) -> None:
    inputs: dict[str, Any] = {name: np.ones(shape, dtype) for name in "abc"}
    arguments = Arguments(inputs, {"out": (shape, dtype), "other": (shape, dtype)})
    assert len(arguments.pointers) == 5
    assert all(pointer % 64 == 0 for pointer in arguments.pointers)
    assert all(np.array_equal(arguments.inputs[name], inputs[name]) for name in inputs)
