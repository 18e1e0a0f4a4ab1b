"""What it computes: the two halves of each head, turned by the angles of the token's position."""

from __future__ import annotations

from typing import Any

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import TensorOperator, Tensors
from tuner.kernels.gpu.rows import FLOATS
from tuner.kernels.gpu.tensor import Tensor, bytes_of
from tuner.kernels.problem import Field
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]

_BASE = 10000.0


def _table(positions: int, size: int, function: str) -> Any:
    """Return what draws the cosines, or sines, of every position and pair."""

    def draw(_: Any, device: Any) -> Any:
        torch = torch_of()
        pairs = torch.arange(size // 2, device=device, dtype=torch.float64)
        angles = torch.arange(positions, device=device)[:, None] * _BASE ** (-2 * pairs / size)
        return getattr(torch, function)(angles).to(torch.float32)

    return draw


def _inputs(workload: Workload) -> dict[str, Tensor]:
    tokens, heads, size, most = (workload.integer(name) for name in ("T", "H", "D", "S"))
    return {
        "x": Tensor((tokens, heads, size), workload.text("dtype")),
        "cosines": Tensor((most, size // 2), "fp32", draw=_table(most, size, "cos")),
        "sines": Tensor((most, size // 2), "fp32", draw=_table(most, size, "sin")),
        "positions": Tensor((tokens,), "int32", low=0, high=most),
    }


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": _inputs(workload)["x"]}


def _reference(_: Workload, inputs: Tensors) -> Tensors:
    at = inputs["positions"].long()
    cosine, sine = (wide(inputs[name])[at][:, None, :] for name in ("cosines", "sines"))
    first, second = wide(inputs["x"]).chunk(2, dim=2)
    return {"out": torch_of().cat([first * cosine - second * sine, second * cosine + first * sine], dim=2)}


def _work(workload: Workload) -> Work:
    tokens, heads, size = (workload.integer(name) for name in ("T", "H", "D"))
    moved = {name: tensor for name, tensor in _inputs(workload).items() if name in ("x", "positions")}
    # Of the tables, a row for each token at most.
    rows = min(tokens, workload.integer("S"))
    return Work(flops=3 * tokens * heads * size, bytes=bytes_of(moved, _outputs(workload)) + 4 * rows * size)


OPERATOR = TensorOperator(
    name="rotary",
    fields=(
        Field("T"),
        Field("H"),
        Field("D", multiple_of=2),
        Field("S", default=8192),
        Field("dtype", default="bf16", choices=FLOATS),
    ),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # Sums of two products, which may cancel.
    tolerance=lambda workload: {
        "bf16": Tolerance(relative=2**-7, absolute=1e-3),
        "fp16": Tolerance(relative=2**-9, absolute=2e-4),
        "fp32": Tolerance(relative=1e-5, absolute=1e-5),
    }[workload.text("dtype")],
    # A NaN in a table's row that no token asks for has no effect.
    unspecified=("cosines", "sines"),
    workloads={
        # Heads from the models' published configurations, queries and keys together; T is the number of tokens.
        "llama3-8b-prefill-4k": Workload(T=4096, H=40, D=128, S=8192, dtype="bf16"),
        "llama3-8b-decode-64": Workload(T=64, H=40, D=128, S=8192, dtype="bf16"),
        "qwen3-32b-prefill-2k": Workload(T=2048, H=72, D=128, S=32768, dtype="bf16"),
    },
)
"""Rotary embedding of `T` tokens of `H` heads of size `D` (Su et al., RoFormer, 2021), halves as in Llama."""
