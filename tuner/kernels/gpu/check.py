"""Correct first, on tensors: the ideas of `tuner.kernels.check` where torch has them, on a GPU or a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tuner.kernels.gpu.memory import Memory, copied, drawn, same_bits, torch_of, wide
from tuner.kernels.gpu.operator import Distribution, TensorOperator, Tensors
from tuner.kernels.judge import Case, Kind, Tolerance, Verdict, judge, wrong_values
from tuner.types import Workload

__all__ = ["TensorCase", "cases", "check_tensors"]

Call = Callable[[Memory], None]
TensorCase = Case[Any]
"""Inputs of torch, and the true outputs that belong to them, in float64."""

# Values that are compared at a time, in float64.
_PART = 1 << 24
# One value in so many is not zero in sparse inputs.
_SPARSE = 16


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
    yield Case("random", inputs, operator.reference(workload, inputs))
    distributions = {**_GENERIC, **operator.distributions, "nan": _planted(operator.unspecified)}
    names = list(distributions)
    for name in names if thorough else names[seed % len(names) :][:1]:
        derived = distributions[name](inputs, generator)
        yield Case(name, derived, operator.reference(workload, derived))


def check_tensors(
    calls: Sequence[Call], memory: Memory, all_cases: Iterable[TensorCase], tolerance: Tolerance
) -> list[Verdict]:
    """Call kernels on tensors, as `judge` does. What a kernel reads beyond a tensor is NaN."""
    return judge(calls, memory, all_cases, tolerance, _TENSORS)


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
    value, expected = float(wide(flat[first])), float(truth[first])
    return wrong_values(name, count, truth.numel(), at, value, expected, tolerance), relative


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
    # Written so that a NaN counts as wrong.
    within = difference <= tolerance.allowed(numbers.abs(), largest)
    wrong = torch.where(finite, ~within, torch.isfinite(actual) | (torch.isinf(truth) & (actual != truth)))
    seen = difference[finite]
    return wrong, float(seen.max()) if seen.numel() else 0.0


def _index(position: int, shape: tuple[int, ...]) -> list[int]:
    index = []
    for size in reversed(shape):
        index.append(position % size)
        position //= size
    return index[::-1]


_TENSORS: Kind[Any] = Kind(copy=copied, same_bits=same_bits, compare=_compare)
