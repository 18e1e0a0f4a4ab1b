"""What it computes on a GPU: residual_out = x + residual; out = residual_out / rms(residual_out) * weight."""

from __future__ import annotations

from typing import Any

from tuner.kernels.add_rmsnorm.operator import EPSILON
from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import Tensors
from tuner.kernels.gpu.rows import matrix, row_operator
from tuner.kernels.gpu.tensor import Tensor
from tuner.types import Workload

__all__ = ["OPERATOR"]


def _inputs(workload: Workload) -> dict[str, Tensor]:
    weight = Tensor((workload.integer("N"),), workload.text("dtype"))
    return {"x": matrix(workload), "residual": matrix(workload), "weight": weight}


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": matrix(workload), "residual_out": matrix(workload)}


def _reference(_: Workload, inputs: Tensors) -> Tensors:
    total = wide(inputs["x"]) + wide(inputs["residual"])
    scale = torch_of().rsqrt((total * total).mean(dim=1, keepdim=True) + EPSILON)
    return {"out": total * scale * wide(inputs["weight"]), "residual_out": total}


def _level(inputs: Tensors, _: Any) -> Tensors:
    """Squares below epsilon."""
    return {**inputs, "x": inputs["x"] * 2**-10, "residual": inputs["residual"] * 2**-10}


OPERATOR = row_operator(
    "add_rmsnorm",
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    operations=5,
    # What is computed in float32 is rounded once; the sum of squares of 16,384 numbers is exact to some 1e-6.
    tolerances={
        "bf16": Tolerance(relative=2**-7, absolute=1e-3),
        "fp16": Tolerance(relative=2**-9, absolute=2e-4),
        "fp32": Tolerance(relative=1e-5, absolute=1e-5),
    },
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
