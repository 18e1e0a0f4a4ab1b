"""What it computes on a GPU: residual_out = x + residual; out = residual_out / rms(residual_out) * weight."""

from __future__ import annotations

from typing import Any

from tuner.kernels.add_rmsnorm.operator import EPSILON
from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import TensorOperator, Tensors
from tuner.kernels.gpu.rows import FLOATS
from tuner.kernels.gpu.tensor import Tensor, bytes_of
from tuner.kernels.problem import Field
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]


def _inputs(workload: Workload) -> dict[str, Tensor]:
    rows, columns, dtype = workload.integer("M"), workload.integer("N"), workload.text("dtype")
    return {
        "x": Tensor((rows, columns), dtype),
        "residual": Tensor((rows, columns), dtype),
        "weight": Tensor((columns,), dtype),
    }


def _outputs(workload: Workload) -> dict[str, Tensor]:
    shape = (workload.integer("M"), workload.integer("N"))
    return {"out": Tensor(shape, workload.text("dtype")), "residual_out": Tensor(shape, workload.text("dtype"))}


def _reference(_: Workload, inputs: Tensors) -> Tensors:
    total = wide(inputs["x"]) + wide(inputs["residual"])
    scale = torch_of().rsqrt((total * total).mean(dim=1, keepdim=True) + EPSILON)
    return {"out": total * scale * wide(inputs["weight"]), "residual_out": total}


def _work(workload: Workload) -> Work:
    numbers = workload.integer("M") * workload.integer("N")
    return Work(flops=5 * numbers, bytes=bytes_of(_inputs(workload), _outputs(workload)))


def _level(inputs: Tensors, _: Any) -> Tensors:
    """Squares below epsilon."""
    return {**inputs, "x": inputs["x"] * 2**-10, "residual": inputs["residual"] * 2**-10}


OPERATOR = TensorOperator(
    name="add_rmsnorm",
    fields=(Field("M"), Field("N"), Field("dtype", default="bf16", choices=FLOATS)),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # What is computed in float32 is rounded once; the sum of squares of 16,384 numbers is exact to some 1e-6.
    tolerance=lambda workload: {
        "bf16": Tolerance(relative=2**-7, absolute=1e-3),
        "fp16": Tolerance(relative=2**-9, absolute=2e-4),
        "fp32": Tolerance(relative=1e-5, absolute=1e-5),
    }[workload.text("dtype")],
    distributions={"level": _level},
    workloads={
        # Hidden sizes from the models' published configurations; M is the number of tokens in the step.
        "llama3-8b-decode-64": Workload(M=64, N=4096, dtype="bf16"),
        "llama3-8b-prefill-4k": Workload(M=4096, N=4096, dtype="bf16"),
        "llama3-70b-prefill-4k": Workload(M=4096, N=8192, dtype="bf16"),
        "qwen3-32b-decode-128": Workload(M=128, N=5120, dtype="bf16"),
        "deepseek-v3-prefill-4k": Workload(M=4096, N=7168, dtype="bf16"),
    },
)
"""Residual add, then RMSNorm, of `M` rows of `N` values; sums are kept in float32."""
