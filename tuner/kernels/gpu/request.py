"""Build requests as data: everything that decides what a compiler makes of a function, and nothing else.

Sizes do not enter: a compiler is told of an integer only whether it is 1 and whether 16 divides it, and of a pointer
its dtype, alignment and whether 32 bits reach its last byte, as Triton specialises functions. Workloads share builds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tuner.kernels.gpu.launch import Value
from tuner.kernels.gpu.tensor import DTYPES, Tensor
from tuner.types import Scalar

__all__ = ["ALIGNMENT", "Argument", "Request", "described"]

ALIGNMENT = 16
"""Bytes that every tensor's address is a multiple of, and the divisor that integers are told by."""

_REACH = 1 << 31


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of a function, as a compiler is told of it.

    Attributes:
        name: The parameter's name.
        type: `*bf16`, `i32`, `i64`, `fp32`.
        aligned: Whether 16 divides the address, or the integer.
        one: Whether an integer is 1.
        near: Whether 32 bits reach the last byte of a tensor.
    """

    name: str
    type: str
    aligned: bool = False
    one: bool = False
    near: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be compiled.

    Attributes:
        entry: The function's name.
        target: `cuda:90`, `hip:gfx942`.
        arguments: Its parameters that are no constants, in order.
        constants: Its constants, or macros.
        options: What the compiler is told besides.
        threads: Of a block, where the toolchain does not decide them.
        shared_bytes: Dynamic shared memory of a block, where the toolchain does not decide it.
    """

    entry: str
    target: str
    arguments: tuple[Argument, ...]
    constants: Mapping[str, Scalar]
    options: Mapping[str, Scalar]
    threads: int = 0
    shared_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain data, the same for the same request."""
        return {
            **asdict(self),
            "arguments": [asdict(argument) for argument in self.arguments],
            "constants": dict(self.constants),
            "options": dict(self.options),
        }


def described(values: Mapping[str, Value], tensors: Mapping[str, Tensor]) -> tuple[Argument, ...]:
    """Return the arguments that a compiler is told of `values`, in order.

    Args:
        values: By parameter, the name of a tensor, or a number.
        tensors: By name.
    """
    return tuple(_described(name, value, tensors) for name, value in values.items())


def _described(name: str, value: Value, tensors: Mapping[str, Tensor]) -> Argument:
    if isinstance(value, str):
        tensor = tensors[value]
        return Argument(name, f"*{DTYPES[tensor.dtype].triton}", aligned=True, near=tensor.bytes < _REACH)
    if isinstance(value, float):
        return Argument(name, "fp32")
    wide = "i32" if -_REACH <= value < _REACH else "i64"
    return Argument(name, wide, aligned=value % ALIGNMENT == 0, one=value == 1)
