"""How kernels are checked, whatever holds their values: arrays on a CPU, tensors on a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from tuner.types import Scalar

__all__ = ["Case", "Kind", "Memory", "Tolerance", "Verdict", "judge", "wrong_values"]

# All bits set is NaN in every float; the other byte, repeated, is some number in each: what was not written does not
# pass for a NaN.
_NAN_BYTE = 0xFF
_NUMBER_BYTE = 0x4B

Values = TypeVar("Values")


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

    def allowed(self, magnitudes: Any, largest: float) -> Any:
        """Return how far values may be from true ones of these magnitudes, the greatest of which is `largest`."""
        if self.rel_error is None:
            return self.absolute + self.relative * magnitudes
        return self.rel_error * largest

    def __str__(self) -> str:
        if self.rel_error is None:
            return f"{self.relative:g} relative, {self.absolute:g} absolute"
        return f"{self.rel_error:g} of the largest value"


@dataclass(frozen=True, slots=True)
class Case(Generic[Values]):
    """Inputs, and the true outputs that belong to them.

    Attributes:
        distribution: What the inputs are like.
        inputs: By name.
        expected: By name, in float64.
    """

    distribution: str
    inputs: Mapping[str, Values]
    expected: Mapping[str, Values]


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
        error = {"rel_error": self.rel_error} if math.isfinite(self.rel_error) else {}
        return {**error, "tolerance": self.tolerance} if self.tolerance else {**error}


class Memory(Protocol[Values]):
    """Where inputs and outputs of a kernel lie."""

    @property
    def outputs(self) -> Mapping[str, Values]:
        """The outputs, by name."""

    def fill(self, inputs: Mapping[str, Values]) -> None:
        """Copy `inputs` to where they lie."""

    def poison(self, byte: int) -> None:
        """Fill the outputs with `byte`, so that what a kernel does not write is seen."""

    def changed(self, inputs: Mapping[str, Values]) -> str | None:
        """Return the name of an input that does not hold the bits of `inputs` any more."""

    def overrun(self) -> str | None:
        """Return what was written to beside inputs and outputs, in words, and repair it."""


Held = TypeVar("Held", bound=Memory[Any])
Fill = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Kind(Generic[Values]):
    """What arrays and tensors do each in their own way.

    Attributes:
        copy: Returns values that stay.
        same_bits: Whether two are the same to the bit.
        compare: From an output's name, the output, its true values and the tolerance to what is wrong with it, in
            words, and its largest error relative to the largest true value.
    """

    copy: Callable[[Values], Values]
    same_bits: Callable[[Values, Values], bool]
    compare: Callable[[str, Values, Values, Tolerance], tuple[str, float]]


def judge(
    calls: Sequence[Callable[[Held], None]],
    memory: Held,
    cases: Iterable[Case[Values]],
    tolerance: Tolerance,
    kind: Kind[Values],
    again: Sequence[Fill] = (),
) -> list[Verdict]:
    """Call kernels on poisoned outputs, and compare each output with its reference and with itself.

    Each kernel is called on every case, and then on the first one again. It is wrong if an output is not what it should
    be, is not the same bits at the end, or if anything but the outputs was written to.

    Args:
        calls: Each runs a kernel on the memory, and returns when it is done.
        memory: Where inputs and outputs lie; at the end it holds the inputs of the first case.
        cases: What to call the kernels on, one after the other; only the first is kept.
        tolerance: How far an output may be from the true one.
        kind: What the values are.
        again: What puts the inputs of the first case where the kernels are called on them again; once, where they were,
            by default.

    Returns:
        A verdict for each kernel; of a wrong one, what was found first.
    """
    verdicts = [Verdict(tolerance=str(tolerance)) for _ in calls]
    kept: list[Mapping[str, Values]] = [{} for _ in calls]
    first: Case[Values] | None = None
    for case in cases:
        # The same addresses again, where other values lie now.
        memory.fill(case.inputs)
        for i, call in enumerate(calls):
            if verdicts[i].error:
                continue
            found = _judge(call, memory, case, tolerance, kind, _NUMBER_BYTE if first else _NAN_BYTE)
            where = f"on inputs of the kind {case.distribution!r}: " if first and found.error else ""
            worst = max(found.rel_error, verdicts[i].rel_error)
            verdicts[i] = replace(verdicts[i], error=where + found.error, rel_error=worst)
            if first is None:
                kept[i] = {name: kind.copy(values) for name, values in memory.outputs.items()}
        first = first or case
    assert first is not None, "there is a case"
    for fill in again or (memory.fill,):
        fill(first.inputs)
        for i, call in enumerate(calls):
            if not verdicts[i].error and (error := _repeat(call, memory, first, kept[i], kind, fill)):
                verdicts[i] = replace(verdicts[i], error=error)
    return verdicts


def wrong_values(
    name: str, count: int, total: int, at: Sequence[int], value: float, truth: float, tolerance: Tolerance
) -> str:
    """Return in words what is wrong with an output of `total` values, of which `count` are."""
    return (
        f"output {name!r}: {count} of {total} values are wrong; the first, at {list(at)}, is {value:.6g} and should be "
        f"{truth:.6g} (tolerance {tolerance})"
    )


def _judge(
    call: Callable[[Held], None],
    memory: Held,
    case: Case[Values],
    tolerance: Tolerance,
    kind: Kind[Values],
    poison: int,
) -> Verdict:
    """Call a kernel, and compare its outputs with the reference."""
    memory.poison(poison)
    call(memory)
    if error := _trespass(memory, case, memory.fill):
        return Verdict(error, math.inf)
    worst = 0.0
    for name, values in memory.outputs.items():
        error, relative = kind.compare(name, values, case.expected[name], tolerance)
        worst = max(worst, relative)
        if error:
            return Verdict(error, worst)
    return Verdict("", worst)


def _repeat(
    call: Callable[[Held], None],
    memory: Held,
    case: Case[Values],
    kept: Mapping[str, Values],
    kind: Kind[Values],
    fill: Fill,
) -> str:
    """Call a kernel once more, and return what is wrong if its outputs are not those that were kept."""
    memory.poison(_NUMBER_BYTE)
    call(memory)
    if error := _trespass(memory, case, fill):
        return error
    for name, values in memory.outputs.items():
        if not kind.same_bits(values, kept[name]):
            return f"output {name!r}: a second call on the same inputs gave another result"
    return ""


def _trespass(memory: Memory[Values], case: Case[Values], fill: Fill) -> str:
    """Return what a kernel wrote to besides its outputs, and undo it, or the next kernel would be blamed."""
    error = memory.overrun() or ""
    if not error and (changed := memory.changed(case.inputs)):
        error = f"input {changed!r} was written to"
    if error:
        fill(case.inputs)
    return error
