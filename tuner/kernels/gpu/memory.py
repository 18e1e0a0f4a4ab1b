"""Tensors of a call where torch has them: between guards, poisoned before a call, compared after it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from tuner.errors import MissingDependencyError
from tuner.kernels.gpu.operator import Tensors
from tuner.kernels.gpu.tensor import DTYPES, Tensor

__all__ = ["Memory", "copied", "drawn", "poison", "same_bits", "scratch_of", "torch_of", "wide"]

# Around each tensor, so that a tile that runs over hits it. What is read beyond an input is NaN in every float; what is
# written beyond an output is seen, even where it is that NaN.
_GUARD_BYTES = 1 << 16
_READ_GUARD, _WRITTEN_GUARD = 0xFF, 0xA5
_ALIGNMENT = 256
# Largest magnitude of eight bits with a four-bit exponent, and what random values of it are kept below.
_FP8_LARGEST = 448.0


def torch_of() -> Any:
    """Return torch.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise MissingDependencyError(f"checking GPU kernels needs torch: {error}; pip install torch") from error


def wide(tensor: Any) -> Any:
    """Return a tensor in float64; eight-bit floats on the way through float32."""
    torch = torch_of()
    return tensor.to(torch.float32).to(torch.float64) if tensor.element_size() == 1 else tensor.to(torch.float64)


def drawn(specs: Mapping[str, Tensor], generator: Any, device: Any) -> dict[str, Any]:
    """Return random tensors: normal floats of the tensors' scales, integers of their ranges, or what they draw."""
    return {name: _drawn(spec, generator, device) for name, spec in specs.items()}


def _drawn(spec: Tensor, generator: Any, device: Any) -> Any:
    torch = torch_of()
    if spec.draw is not None:
        return spec.draw(generator, device)
    dtype = getattr(torch, DTYPES[spec.dtype].torch)
    if not DTYPES[spec.dtype].floating:
        return torch.randint(spec.low, spec.high, spec.shape, generator=generator, device=device, dtype=dtype)
    values = torch.randn(spec.shape, generator=generator, device=device, dtype=torch.float32)
    values *= spec.scale
    if spec.dtype == "fp8":
        values.clamp_(-_FP8_LARGEST, _FP8_LARGEST)
    return values.to(dtype)


class Memory:
    """Tensors, each between guards of its own.

    Args:
        inputs: By name.
        outputs: By name.
        device: Where torch puts them.
        guarded: Whether there are guards; copies that are only timed need none.
    """

    def __init__(
        self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], device: Any, *, guarded: bool = True
    ) -> None:
        size = _GUARD_BYTES if guarded else 0
        self._buffers = {
            name: _Buffer(spec, device, size, _READ_GUARD if name in inputs else _WRITTEN_GUARD)
            for name, spec in {**inputs, **outputs}.items()
        }
        self.inputs = {name: self._buffers[name].tensor for name in inputs}
        self.outputs = {name: self._buffers[name].tensor for name in outputs}

    @property
    def tensors(self) -> dict[str, Any]:
        """Inputs and outputs, by name."""
        return {**self.inputs, **self.outputs}

    def fill(self, inputs: Tensors) -> None:
        """Copy `inputs` to where they lie."""
        for name, tensor in self.inputs.items():
            tensor.copy_(inputs[name])

    def poison(self, byte: int) -> None:
        """Fill the outputs with `byte`, so that what a kernel does not write is seen."""
        for tensor in self.outputs.values():
            _bytes(tensor).fill_(byte)

    def changed(self, inputs: Tensors) -> str | None:
        """Return the name of an input that does not hold the bits of `inputs` any more."""
        return next((name for name, tensor in self.inputs.items() if not same_bits(tensor, inputs[name])), None)

    def overrun(self) -> str | None:
        """Return which tensor's guards were written to, in words, and repair them."""
        for name, buffer in self._buffers.items():
            if not buffer.guarded():
                buffer.guard()
                kind = "input" if name in self.inputs else "output"
                return f"{kind} {name!r}: wrote outside of its {buffer.bytes} bytes"
        return None


class _Buffer:
    """Memory for one tensor."""

    def __init__(self, spec: Tensor, device: Any, guard: int, pattern: int) -> None:
        torch = torch_of()
        self._pattern = pattern
        self.bytes = spec.bytes
        room = -(-self.bytes // _ALIGNMENT) * _ALIGNMENT
        everything = torch.empty(room + 2 * guard + _ALIGNMENT, dtype=torch.uint8, device=device)
        start = guard + -everything.data_ptr() % _ALIGNMENT
        self._guards = (everything[:start], everything[start + self.bytes :])
        middle = everything[start : start + self.bytes]
        self.tensor = middle.view(getattr(torch, DTYPES[spec.dtype].torch)).reshape(spec.shape)
        if guard:
            self.guard()

    def guard(self) -> None:
        for guard in self._guards:
            guard.fill_(self._pattern)

    def guarded(self) -> bool:
        return all(bool((guard == self._pattern).all()) for guard in self._guards)


def same_bits(one: Any, other: Any) -> bool:
    """Return whether two tensors of the same size hold the same bits; NaN equals itself then."""
    return bool(torch_of().equal(_bytes(one), _bytes(other)))


def copied(tensor: Any) -> Any:
    """Return a tensor of the same values that stays as it is."""
    return tensor.clone()


def scratch_of(specs: Mapping[str, Tensor], device: Any) -> dict[str, Any]:
    """Return memory that launches hand to each other."""
    torch = torch_of()
    return {
        name: torch.empty(spec.shape, dtype=getattr(torch, DTYPES[spec.dtype].torch), device=device)
        for name, spec in specs.items()
    }


def poison(tensors: Iterable[Any], byte: int) -> None:
    """Fill tensors with `byte`."""
    for tensor in tensors:
        _bytes(tensor).fill_(byte)


def _bytes(tensor: Any) -> Any:
    return tensor.contiguous().reshape(-1).view(torch_of().uint8)
