"""What it computes on a GPU: out = exp(x) / sum(exp(x)) over the columns of each row, in 16 or 32 bits."""

from __future__ import annotations

from typing import Any

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import Tensors
from tuner.kernels.gpu.rows import matrix, row_operator
from tuner.kernels.gpu.tensor import Tensor
from tuner.types import Workload

__all__ = ["OPERATOR"]

# As on a CPU: a few scores dominate, and e^x needs the row's maximum.
_SCALE = 3.0


def _inputs(workload: Workload) -> dict[str, Tensor]:
    return {"x": matrix(workload, scale=_SCALE)}


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": matrix(workload)}


def _reference(_: Workload, inputs: Tensors) -> Tensors:
    return {"out": torch_of().softmax(wide(inputs["x"]), dim=1)}


def _rising(inputs: Tensors, _: Any) -> Tensors:
    """Rows that rise, far from zero: the running maximum moves at every block, and shrinks all that came before."""
    torch = torch_of()
    x = inputs["x"]
    rise = torch.linspace(-20, 20, x.shape[1], device=x.device)
    return {"x": (x.to(torch.float32) / _SCALE + rise - 200).to(x.dtype)}


OPERATOR = row_operator(
    "softmax",
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    operations=5,
    # Exponents are exact to some 2e-6 and sums to some 1e-5; outputs of 16 bits are rounded. Those that fp16 can hardly
    # tell from zero may be off by more than the relative part.
    tolerances={
        "bf16": Tolerance(relative=2**-7, absolute=1e-30),
        "fp16": Tolerance(relative=2**-9, absolute=1e-7),
        "fp32": Tolerance(relative=1e-4, absolute=1e-30),
    },
    distributions={"rising": _rising},
    workloads={
        # Sizes from the models' published configurations: rows of scores, and a row of logits for each sequence.
        "llama3-8b-scores-4k": Workload(M=32 * 128, N=4096, dtype="bf16"),
        "llama3-8b-logits-batch64": Workload(M=64, N=128256, dtype="fp32"),
        "qwen3-32b-logits-batch256": Workload(M=256, N=151936, dtype="bf16"),
        "deepseek-v3-router-4k": Workload(M=4096, N=256, dtype="fp32"),
    },
)
"""Softmax of `M` rows of `N` values; sums are kept in float32."""
