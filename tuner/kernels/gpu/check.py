"""Correct first, on tensors: the ideas of `tuner.kernels.check` where torch has them, on a GPU or a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner.kernels.check import Tolerance, Verdict
from tuner.kernels.gpu.memory import Memory, drawn, same_bits, torch_of, wide
from tuner.kernels.gpu.operator import Distribution, TensorOperator, Tensors
from tuner.types import Workload

__all__ = ["TensorCase", "cases", "check_tensors"]

Call = Callable[[Memory], None]

# Values that are compared at a time, in float64.
_PART = 1 << 24
# All bits set is NaN in every float; the other byte, repeated, is some number in each.
_NAN_BYTE = 0xFF
_NUMBER_BYTE = 0x4B
# One value in so many is not zero in sparse inputs.
_SPARSE = 16


@dataclass(frozen=True, slots=True)
class TensorCase:
    """Inputs, and the true outputs that belong to them.

    Attributes:
        distribution: What the inputs are like.
        inputs: By name.
        expected: By name, in float64.
    """

    distribution: str
    inputs: Tensors
    expected: Tensors


def _sparse(inputs: Tensors, generator: Any) -> Tensors:
    """Most floats are zero."""

    def thinned(tensor: Any) -> Any:
        torch = torch_of()
        kept = torch.randint(_SPARSE, tensor.shape, generator=generator, device=tensor.device) == 0
        return (tensor.to(torch.float32) * kept).to(tensor.dtype)

    return _floats(inputs, thinned)


def _constant(inputs: Tensors, _: Any) -> Tensors:
    """All floats of a tensor are the same power of two."""

    def levelled(tensor: Any) -> Any:
        torch = torch_of()
        mean = float(tensor.to(torch.float32).abs().mean())
        return torch.full_like(tensor.to(torch.float32), 2.0 ** math.floor(math.log2(max(mean, 2.0**-14)))).to(
            tensor.dtype
        )

    return _floats(inputs, levelled)


def _falling(inputs: Tensors, _: Any) -> Tensors:
    """Rows fall from their greatest value: no part of a row is like the others."""
    torch = torch_of()
    return _floats(inputs, lambda t: t.to(torch.float32).sort(dim=-1, descending=True).values.to(t.dtype))


_GENERIC: Mapping[str, Distribution] = {"sparse": _sparse, "constant": _constant, "falling": _falling}


def _floats(inputs: Tensors, change: Callable[[Any], Any]) -> Tensors:
    return {name: change(one) if one.is_floating_point() else one for name, one in inputs.items()}


def _planted(unspecified: Sequence[str]) -> Distribution:
    """Return what plants one NaN in an input where its effect is specified."""

    def plant(inputs: Tensors, generator: Any) -> Tensors:
        torch = torch_of()
        names = [name for name, one in inputs.items() if one.is_floating_point() and name not in unspecified]
        if not names:
            return inputs
        device = next(iter(inputs.values())).device
        name = names[int(torch.randint(len(names), (1,), generator=generator, device=device))]
        changed = inputs[name].to(torch.float32, copy=True)
        changed.reshape(-1)[int(torch.randint(changed.numel(), (1,), generator=generator, device=device))] = math.nan
        return {**inputs, name: changed.to(inputs[name].dtype)}

    return plant


def cases(
    operator: TensorOperator, workload: Workload, seed: int, device: Any, *, thorough: bool = False
) -> Iterator[TensorCase]:
    """Yield random inputs with their true outputs, and then others that derive from them.

    Args:
        operator: What is computed.
        workload: What the inputs are for.
        seed: What they are drawn with; the same on the same kind of device.
        device: Where torch puts them.
        thorough: Whether every distribution is there; otherwise one, which the seed decides.
    """
    torch = torch_of()
    generator = torch.Generator(device=device).manual_seed(seed % (1 << 63))
    inputs = drawn(operator.inputs(workload), generator, device)
    yield TensorCase("random", inputs, operator.reference(workload, inputs))
    distributions = {**_GENERIC, **operator.distributions, "nan": _planted(operator.unspecified)}
    names = list(distributions)
    for name in names if thorough else names[seed % len(names) :][:1]:
        derived = distributions[name](inputs, generator)
        yield TensorCase(name, derived, operator.reference(workload, derived))


def check_tensors(
    calls: Sequence[Call], memory: Memory, all_cases: Iterable[TensorCase], tolerance: Tolerance
) -> list[Verdict]:
    """Call kernels on poisoned outputs, and compare each output with its reference and with itself.

    Each kernel is called on every case, and then on the first one again. It is wrong if an output is not what it should
    be, is not the same bits at the end, or if anything but the outputs was written to. What it reads beyond a tensor is
    NaN.

    Args:
        calls: Each runs a kernel on the memory, and returns when it is done.
        memory: Where inputs and outputs lie; at the end it holds the inputs of the first case.
        all_cases: What to call the kernels on; only the first is kept.
        tolerance: How far an output may be from the true one.

    Returns:
        A verdict for each kernel; of a wrong one, what was found first.
    """
    verdicts = [Verdict(tolerance=str(tolerance)) for _ in calls]
    kept: list[dict[str, Any]] = [{} for _ in calls]
    first: TensorCase | None = None
    for case in all_cases:
        memory.fill(case.inputs)
        for i, call in enumerate(calls):
            if verdicts[i].error:
                continue
            found = _judge(call, memory, case, tolerance, _NUMBER_BYTE if first else _NAN_BYTE)
            where = f"on inputs of the kind {case.distribution!r}: " if first and found.error else ""
            worst = max(found.rel_error, verdicts[i].rel_error)
            verdicts[i] = replace(verdicts[i], error=where + found.error, rel_error=worst)
            if first is None:
                kept[i] = {name: tensor.clone() for name, tensor in memory.outputs.items()}
        first = first or case
    assert first is not None, "there is a case"
    memory.fill(first.inputs)
    for i, call in enumerate(calls):
        if not verdicts[i].error and (error := _repeat(call, memory, first, kept[i])):
            verdicts[i] = replace(verdicts[i], error=error)
    return verdicts


def _judge(call: Call, memory: Memory, case: TensorCase, tolerance: Tolerance, poison: int) -> Verdict:
    memory.poison(poison)
    call(memory)
    if error := _trespass(memory, case):
        return Verdict(error, math.inf)
    worst = 0.0
    for name, tensor in memory.outputs.items():
        error, relative = _compare(name, tensor, case.expected[name], tolerance)
        worst = max(worst, relative)
        if error:
            return Verdict(error, worst)
    return Verdict("", worst)


def _repeat(call: Call, memory: Memory, case: TensorCase, kept: Tensors) -> str:
    memory.poison(_NUMBER_BYTE)
    call(memory)
    if error := _trespass(memory, case):
        return error
    for name, tensor in memory.outputs.items():
        if not same_bits(tensor, kept[name]):
            return f"output {name!r}: a second call on the same inputs gave another result"
    return ""


def _trespass(memory: Memory, case: TensorCase) -> str:
    """Return what a kernel wrote to besides its outputs, and undo it, or the next kernel would be blamed."""
    error = memory.overrun() or ""
    if not error and (changed := memory.changed(case.inputs)):
        error = f"input {changed!r} was written to"
    if error:
        memory.fill(case.inputs)
    return error


def _compare(name: str, tensor: Any, reference: Any, tolerance: Tolerance) -> tuple[str, float]:
    """Return what is wrong with an output, and its largest error relative to the largest reference value."""
    torch = torch_of()
    flat, truth = tensor.reshape(-1), reference.reshape(-1)
    finite = truth[torch.isfinite(truth)]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    largest = largest or 1.0
    worst, count, first = 0.0, 0, -1
    for start in range(0, truth.numel(), _PART):
        part = slice(start, start + _PART)
        wrong, difference = _differences(wide(flat[part]), _held(truth[part], tensor.dtype), tolerance, largest)
        worst = max(worst, difference)
        found = int(wrong.sum())
        if found:
            first = first if count else start + int(wrong.to(torch.uint8).argmax())
            count += found
    relative = worst / largest if math.isfinite(worst) else math.inf
    if not count:
        return "", relative
    at = _index(first, tuple(reference.shape))
    return (
        f"output {name!r}: {count} of {truth.numel()} values are wrong; the first, at {at}, "
        f"is {float(wide(flat[first])):.6g} and should be {float(truth[first]):.6g} (tolerance {tolerance})"
    ), relative


def _held(truth: Any, dtype: Any) -> Any:
    """Return the truth as an output of `dtype` may hold it: beyond its greatest number, infinity is right."""
    torch = torch_of()
    if not dtype.is_floating_point:
        return truth
    beyond = torch.isfinite(truth) & torch.isinf(truth.to(dtype))
    return torch.where(beyond, torch.copysign(torch.full_like(truth, math.inf), truth), truth)


def _differences(actual: Any, truth: Any, tolerance: Tolerance, largest: float) -> tuple[Any, float]:
    """Return which values are wrong, and the largest difference where the truth is a finite number.

    A number has to be one, an infinity the same; where the truth is NaN, anything that is no number will do.
    """
    torch = torch_of()
    finite = torch.isfinite(truth)
    numbers = torch.where(finite, truth, torch.zeros_like(truth))
    difference = (actual - numbers).abs()
    if tolerance.rel_error is None:
        allowed = tolerance.absolute + tolerance.relative * numbers.abs()
    else:
        allowed = torch.full_like(numbers, tolerance.rel_error * largest)
    # Written so that a NaN counts as wrong.
    wrong = torch.where(
        finite, ~(difference <= allowed), torch.isfinite(actual) | (torch.isinf(truth) & (actual != truth))
    )
    seen = difference[finite]
    return wrong, float(seen.max()) if seen.numel() else 0.0


def _index(position: int, shape: tuple[int, ...]) -> list[int]:
    index = []
    for size in reversed(shape):
        index.append(position % size)
        position //= size
    return index[::-1]
