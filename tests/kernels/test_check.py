from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tuner.kernels.arguments import Arguments, Place
from tuner.kernels.bfloat16 import to_bfloat16
from tuner.kernels.check import Case, Tolerance, Verdict, check

N = 100

Call = Callable[[Arguments], None]


def case(distribution: str, x: np.ndarray) -> Case[np.ndarray]:
    return Case(distribution, {"x": x}, {"out": 2.0 * x.astype(np.float64)})


def random(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(N, dtype=np.float32)


CASES = (case("random", random()), case("other", random(1)))


def verdict(call: Call, tolerance: Tolerance = Tolerance(), cases: tuple[Case[np.ndarray], ...] = CASES) -> Verdict:  # noqa: B008
    arguments = Arguments(cases[0].inputs, {"out": ((N,), "float32")})
    (found,) = check([call], arguments, cases, tolerance)
    return found


def doubled(arguments: Arguments) -> None:
    arguments.outputs["out"][...] = 2 * arguments.inputs["x"]


def test_a_right_result_passes_with_its_error() -> None:
    found = verdict(doubled)
    assert (found.error, found.rel_error) == ("", 0.0)
    assert found.resources == {"rel_error": 0.0, "tolerance": "0.0001 relative, 1e-05 absolute"}


def off_by(error: float, at: int = 7) -> Call:
    def call(arguments: Arguments) -> None:
        doubled(arguments)
        arguments.outputs["out"][at] += error

    return call


def test_a_small_error_passes_and_is_told() -> None:
    found = verdict(off_by(1e-3), Tolerance(0, 1e-2))
    assert not found.error
    assert found.rel_error == pytest.approx(1e-3 / 4.5, rel=0.3)


def test_a_granted_error_is_of_the_largest_value() -> None:
    largest = 2 * float(np.abs([c.inputs["x"] for c in CASES]).max(axis=1).min())
    granted = Tolerance(0, 0, rel_error=1e-2)
    assert not verdict(off_by(0.9e-2 * largest), granted).error
    assert "tolerance 0.01 of the largest value" in verdict(off_by(1.1e-2 * largest), granted).error


def leave_one(arguments: Arguments) -> None:
    arguments.outputs["out"][:-1] = 2 * arguments.inputs["x"][:-1]


def infinite(arguments: Arguments) -> None:
    doubled(arguments)
    arguments.outputs["out"][3] = np.inf


def write_at(name: str, offset: int) -> Call:
    """Return a kernel that writes one byte, so far from an array's start."""

    def call(arguments: Arguments) -> None:
        doubled(arguments)
        array = {**arguments.inputs, **arguments.outputs}[name]
        ctypes.memset(array.ctypes.data + offset, 0, 1)

    return call


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


class Remembering:
    """Computes once for what it takes for the same inputs, and copies its result from then on."""

    def __init__(self, key: Callable[[Arguments], Any]) -> None:
        self._key = key
        self._results: dict[Any, np.ndarray] = {}

    def __call__(self, arguments: Arguments) -> None:
        key = self._key(arguments)
        if key not in self._results:
            doubled(arguments)
            self._results[key] = arguments.outputs["out"].copy()
        arguments.outputs["out"][...] = self._results[key]


def by_nothing(_: Arguments) -> int:
    return 0


def by_address(arguments: Arguments) -> int:
    return arguments.pointers[0]


def only_for(condition: Callable[[np.ndarray], bool]) -> Call:
    """Return a kernel that is right on some inputs, and off on others."""

    def call(arguments: Arguments) -> None:
        doubled(arguments)
        if not condition(arguments.inputs["x"]):
            arguments.outputs["out"][0] += 1

    return call


def accumulate(arguments: Arguments) -> None:
    """Right only if the outputs were zero before."""
    arguments.outputs["out"][...] += 2 * arguments.inputs["x"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (off_by(1.0), r"output 'out': 1 of 100 values are wrong; the first, at \[7\]"),
        (leave_one, r"1 of 100 values are wrong; the first, at \[99\], is nan"),
        (infinite, r"1 of 100 values are wrong; the first, at \[3\], is inf"),
        (lambda _: None, "100 of 100 values are wrong"),
        (accumulate, "100 of 100 values are wrong"),
        (write_at("out", 400), "output 'out': wrote outside of its 400 bytes"),
        (write_at("out", 400 + 4000), "output 'out': wrote outside of its 400 bytes"),
        (write_at("out", -1), "output 'out': wrote outside of its 400 bytes"),
        (write_at("out", -4096), "output 'out': wrote outside of its 400 bytes"),
        (write_at("x", 400), "input 'x': wrote outside of its 400 bytes"),
        (write_at("x", -1), "input 'x': wrote outside of its 400 bytes"),
        (overwrite_input, "input 'x' was written to"),
        (Counting(), "a second call on the same inputs gave another result"),
        (OnlyOnce(), "on inputs of the kind 'other': output 'out': 100 of 100 values are wrong"),
        (Remembering(by_nothing), "on inputs of the kind 'other': output 'out': 100 of 100 values are wrong"),
        (Remembering(by_address), "on inputs of the kind 'other': output 'out': 100 of 100 values are wrong"),
        (only_for(lambda x: x[0] == CASES[0].inputs["x"][0]), r"kind 'other': .* 1 of 100 values are wrong"),
    ],
)
def test_a_wrong_kernel_is_caught(call: Call, message: str) -> None:
    found = verdict(call)
    assert re.search(message, found.error), found.error


def test_each_kernel_is_judged_by_itself() -> None:
    # What one spoils is put right for the next.
    calls: list[Call] = [doubled, write_at("out", 400), doubled, overwrite_input, doubled]
    arguments = Arguments(CASES[0].inputs, {"out": ((N,), "float32")})
    found = check(calls, arguments, CASES, Tolerance(), list(Place))
    assert [bool(one.error) for one in found] == [False, True, False, True, False]


def test_the_first_inputs_are_left_for_timing() -> None:
    arguments = Arguments(CASES[0].inputs, {"out": ((N,), "float32")})
    check([doubled], arguments, CASES, Tolerance())
    np.testing.assert_array_equal(arguments.inputs["x"], CASES[0].inputs["x"])


def planted(**values: float) -> tuple[Case[np.ndarray], ...]:
    x = random(2)
    x[[int(name[1:]) for name in values]] = list(values.values())
    return (*CASES, case("planted", x))


def swallow(arguments: Arguments) -> None:
    arguments.outputs["out"][...] = np.nan_to_num(2 * arguments.inputs["x"])


def spread(arguments: Arguments) -> None:
    """Let what is no number reach its neighbour."""
    doubled(arguments)
    wrong = ~np.isfinite(arguments.inputs["x"])
    arguments.outputs["out"][np.roll(wrong, 1)] = np.nan


def to_nan(arguments: Arguments) -> None:
    """Make every infinity a NaN."""
    doubled(arguments)
    out = arguments.outputs["out"]
    out[np.isinf(out)] = np.nan


def unwritten(arguments: Arguments) -> None:
    """Skip what is no number."""
    finite = np.isfinite(arguments.inputs["x"])
    arguments.outputs["out"][finite] = 2 * arguments.inputs["x"][finite]


def negated(arguments: Arguments) -> None:
    doubled(arguments)
    out = arguments.outputs["out"]
    out[np.isinf(out)] *= -1


@pytest.mark.parametrize(
    ("call", "value", "message"),
    [
        (doubled, np.nan, ""),
        (doubled, np.inf, ""),
        (doubled, -np.inf, ""),
        (swallow, np.nan, r"1 of 100 values are wrong; the first, at \[7\], is 0 and should be nan"),
        (swallow, np.inf, r"1 of 100 values are wrong; the first, at \[7\], is 3.40282e\+38 and should be inf"),
        (spread, np.nan, r"1 of 100 values are wrong; the first, at \[8\], is nan"),
        (to_nan, np.inf, r"1 of 100 values are wrong; the first, at \[7\], is nan and should be inf"),
        (unwritten, np.nan, r"1 of 100 values are wrong; the first, at \[7\], is 1.33231e\+07 and should be nan"),
        (negated, -np.inf, r"1 of 100 values are wrong; the first, at \[7\], is inf and should be -inf"),
    ],
)
def test_what_is_no_number_stays_where_it_is(call: Call, value: float, message: str) -> None:
    found = verdict(call, cases=planted(x7=value))
    assert re.search(message, found.error), found.error
    assert bool(found.error) == bool(message)
    # Where it is right, the error is that of the numbers.
    assert message or (found.rel_error, found.error) == (0.0, "")


def test_bfloat16_outputs_are_compared_as_numbers() -> None:
    def call(arguments: Arguments) -> None:
        arguments.outputs["out"][...] = to_bfloat16(np.array([1.0, -2.5]))

    def error(*expected: float) -> str:
        cases = [Case("random", {}, {"out": np.array(expected)})]
        (found,) = check([call], Arguments({}, {"out": ((2,), "uint16")}), cases, Tolerance())
        return found.error

    assert not error(1.0, -2.5)
    assert error(1.0, -2.6)
