"""What it computes on a GPU: LayerNorm of each row, of the sum with a residual where there is one."""

from __future__ import annotations

from typing import Any

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import Tensors
from tuner.kernels.gpu.rows import matrix, row_operator
from tuner.kernels.gpu.tensor import Tensor
from tuner.kernels.layernorm.operator import EPSILON
from tuner.kernels.problem import Field
from tuner.types import Workload

__all__ = ["OPERATOR"]


def _inputs(workload: Workload) -> dict[str, Tensor]:
    column = Tensor((workload.integer("N"),), workload.text("dtype"))
    inputs = {"x": matrix(workload), "weight": column, "bias": column}
    return {**inputs, "residual": matrix(workload)} if workload["residual"] == "yes" else inputs


def _outputs(workload: Workload) -> dict[str, Tensor]:
    out = {"out": matrix(workload)}
    return {**out, "residual_out": matrix(workload)} if workload["residual"] == "yes" else out


def _reference(workload: Workload, inputs: Tensors) -> Tensors:
    x = wide(inputs["x"])
    residual = workload["residual"] == "yes"
    if residual:
        x = x + wide(inputs["residual"])
    centred = x - x.mean(dim=1, keepdim=True)
    scale = torch_of().rsqrt((centred * centred).mean(dim=1, keepdim=True) + EPSILON)
    out = {"out": centred * scale * wide(inputs["weight"]) + wide(inputs["bias"])}
    return {**out, "residual_out": x} if residual else out


def _far(inputs: Tensors, _: Any) -> Tensors:
    """Means ten times what the numbers differ by: squares minus the square of the mean cancel."""
    return {**inputs, "x": (inputs["x"] + 10).to(inputs["x"].dtype)}


OPERATOR = row_operator(
    "layernorm",
    fields=(Field("residual", default="no", choices=("no", "yes")),),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    operations=7,
    # What is computed in float32 is rounded once; before the bias outputs are below about 8.
    tolerances={
        "bf16": Tolerance(relative=2**-7, absolute=2e-2),
        "fp16": Tolerance(relative=2**-9, absolute=4e-3),
        "fp32": Tolerance(relative=1e-5, absolute=2e-5),
    },
    distributions={"far": _far},
    workloads={
        # Hidden sizes from the models' published configurations; M is the number of tokens in the step.
        "gpt2-xl-prefill-1k": Workload(M=1024, N=1600, dtype="fp16", residual="no"),
        "bert-large-batch32": Workload(M=32 * 512, N=1024, dtype="fp16", residual="yes"),
        "falcon-40b-prefill-2k": Workload(M=2048, N=8192, dtype="bf16", residual="no"),
    },
)
"""LayerNorm of `M` rows of `N` values; sums are kept in float32."""
