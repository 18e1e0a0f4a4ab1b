"""Launches as data: which function of a source runs over which blocks, with which arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from tuner.kernels.gpu.tensor import Tensor
from tuner.types import Scalar

__all__ = ["Launch", "Program", "blocks"]

Value = str | int | float
"""An argument: the name of a tensor, or a number."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of a function over a grid of blocks.

    What `arguments` and `constants` do not give is bound by name: a pointer `x` or `x_ptr` to the tensor `x`, a number
    to the workload's field, a constant to the config's parameter or the workload's field.

    Attributes:
        entry: The function's name in the source.
        grid: Blocks in each of up to three dimensions.
        arguments: By parameter, the name of a tensor, or a number; for CUDA C++, all of them in order, unless the
            function takes the operator's tensors in order.
        constants: By parameter or macro, what is known when the function is compiled.
        options: What the compiler is told besides: `num_warps`, `num_stages`, `maxnreg` of Triton.
        threads: Of a block; Triton takes them from `num_warps`.
        shared_bytes: Dynamic shared memory of a block; Triton knows it by itself.
    """

    entry: str
    grid: tuple[int, ...]
    arguments: Mapping[str, Value] = field(default_factory=dict)
    constants: Mapping[str, Scalar] = field(default_factory=dict)
    options: Mapping[str, Scalar] = field(default_factory=dict)
    threads: int = 0
    shared_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """What makes one call of an operator: launches, one after the other, and the memory between them.

    Attributes:
        launches: In order; each begins when the one before has ended.
        scratch: Tensors that launches hand to each other, by name; their values are not kept between calls.

    Example:
        >>> parts = Launch("product", (64, 4)), Launch("summed", (16,))
        >>> Program(parts, {"partial": Tensor((4, 16, 16))}).scratch["partial"].bytes
        4096
    """

    launches: tuple[Launch, ...]
    scratch: Mapping[str, Tensor] = field(default_factory=dict)


def blocks(size: int, tile: int) -> int:
    """Return how many tiles cover `size`.

    Example:
        >>> blocks(100, 32)
        4
    """
    return ceil(size / tile)
