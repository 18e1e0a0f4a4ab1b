"""What the probe of a GPU computes: it is checked as any kernel is, for a loop that is wrong may well be fast."""

from __future__ import annotations

from typing import Any

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import TensorOperator, Tensors
from tuner.kernels.gpu.tensor import DTYPES, Tensor, bytes_of
from tuner.kernels.problem import Field
from tuner.types import Work, Workload

__all__ = ["COLUMNS", "MOVED", "MULTIPLY_ADDS", "PRODUCTS", "ROWS", "STEPS", "depth_of"]

ROWS, COLUMNS = 128, 256
"""Of the tile of a product that a program keeps in registers, or in the memory of tensor cores."""

STEPS = 16
"""Multiply-adds in one turn of the loop, as in program.py."""

_PATTERNS = ("copy", "triad")


def depth_of(workload: Workload) -> int:
    """Return the columns of K of a tile."""
    return workload.integer("DEPTH_BYTES") // DTYPES[workload.text("dtype")].bytes


def _operands(workload: Workload) -> dict[str, Tensor]:
    dtype, depth = workload.text("dtype"), depth_of(workload)
    return {"x": Tensor((ROWS, depth), dtype), "y": Tensor((COLUMNS, depth), dtype)}


def _sums(workload: Workload) -> dict[str, Tensor]:
    return {"out": Tensor((ROWS, COLUMNS), "int32" if workload["dtype"] == "int8" else "fp32")}


def _product(workload: Workload, inputs: Tensors) -> Tensors:
    return {"out": workload.integer("REPEATS") * (wide(inputs["x"]) @ wide(inputs["y"]).T)}


PRODUCTS = TensorOperator(
    name="products",
    fields=(
        Field("PROGRAMS"),
        Field("REPEATS"),
        Field("DEPTH_BYTES", multiple_of=128),
        Field("dtype", default="bf16", choices=("bf16", "fp16", "fp32", "fp8", "int8")),
    ),
    inputs=_operands,
    outputs=_sums,
    reference=_product,
    work=lambda w: Work(
        flops=2 * ROWS * COLUMNS * depth_of(w) * w.integer("REPEATS") * w.integer("PROGRAMS"),
        bytes=bytes_of(_operands(w), _sums(w)),
    ),
    # Sums of eight-bit floats may keep 14 bits, and lose the last one at each of some hundred additions, of what is
    # larger on the way than at the end: an H200 was 8.5 % off.
    tolerance=lambda w: Tolerance(relative=2**-3, absolute=2.0 * w.integer("REPEATS") * depth_of(w) ** 0.5 * 2**-6),
)
"""REPEATS times the product of a tile of `x` and one of `y`, by each of PROGRAMS programs."""


def _chained(workload: Workload, inputs: Tensors) -> Tensors:
    factor, term = (float(value) for value in wide(inputs["factors"]))
    power = factor ** (STEPS * workload.integer("REPEATS"))
    return {"out": wide(inputs["x"]) * power + term * (1 - power) / (1 - factor)}


def _numbers(workload: Workload) -> dict[str, Tensor]:
    return {"x": Tensor((workload.integer("N"),)), "factors": Tensor((2,), "fp32", draw=_factors)}


def _factors(_: Any, device: Any) -> Any:
    # Signs alternate, so that bits change from step to step as in other computations.
    return torch_of().tensor([-0.9375, 0.25], device=device)


MULTIPLY_ADDS = TensorOperator(
    name="multiply_adds",
    fields=(Field("N"), Field("REPEATS")),
    inputs=_numbers,
    outputs=lambda w: {"out": Tensor((w.integer("N"),))},
    reference=_chained,
    work=lambda w: Work(flops=2 * STEPS * w.integer("REPEATS") * w.integer("N"), bytes=8 * w.integer("N")),
    tolerance=lambda _: Tolerance(relative=1e-5, absolute=1e-6),
)
"""A chain of multiply-adds for each number."""


def _streams(workload: Workload) -> dict[str, Tensor]:
    names = ("x", "y") if workload["pattern"] == "triad" else ("x",)
    return {name: Tensor((workload.integer("N"),)) for name in names}


def _streamed(_: Workload, inputs: Tensors) -> Tensors:
    return {"out": wide(inputs["x"]) + (0.5 * wide(inputs["y"]) if "y" in inputs else 0.0)}


MOVED = TensorOperator(
    name="moved",
    fields=(Field("N"), Field("pattern", default="copy", choices=_PATTERNS)),
    inputs=_streams,
    outputs=lambda w: {"out": Tensor((w.integer("N"),))},
    reference=_streamed,
    work=lambda w: Work(flops=w.integer("N"), bytes=bytes_of(_streams(w)) + 4 * w.integer("N")),
    tolerance=lambda _: Tolerance(relative=1e-6, absolute=1e-6),
)
"""A copy of `x`, or `x` and half of `y`."""
