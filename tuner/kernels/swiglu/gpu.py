"""What it computes on a GPU: out = silu(gate) * up, where gate and up lie side by side in each row."""

from __future__ import annotations

from typing import Any

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import Tensors
from tuner.kernels.gpu.rows import matrix, row_operator
from tuner.kernels.gpu.tensor import Tensor
from tuner.types import Workload

__all__ = ["OPERATOR"]

# As on a CPU: both the straight parts of silu and the bend between them are met.
_GATE_SCALE = 3.0


def _inputs(workload: Workload) -> dict[str, Tensor]:
    return {"gate_up": matrix(workload, wider=2, scale=_GATE_SCALE)}


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": matrix(workload)}


def _reference(_: Workload, inputs: Tensors) -> Tensors:
    gate, up = wide(inputs["gate_up"]).chunk(2, dim=1)
    return {"out": torch_of().nn.functional.silu(gate) * up}


def _extreme(inputs: Tensors, _: Any) -> Tensors:
    """Gates up to some hundreds: exponentials of those overflow float32, or vanish."""
    return {"gate_up": inputs["gate_up"] * 30}


OPERATOR = row_operator(
    "swiglu",
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    operations=5,
    tolerances={
        "bf16": Tolerance(relative=2**-7, absolute=1e-6),
        "fp16": Tolerance(relative=2**-9, absolute=1e-6),
        "fp32": Tolerance(relative=2e-5, absolute=1e-30),
    },
    distributions={"extreme": _extreme},
    workloads={
        # Sizes of the feed-forward block from the models' published configurations; M is the number of tokens.
        "llama3-8b-prefill-4k": Workload(M=4096, N=14336, dtype="bf16"),
        "llama3-8b-decode-64": Workload(M=64, N=14336, dtype="bf16"),
        "qwen3-32b-prefill-2k": Workload(M=2048, N=25600, dtype="bf16"),
    },
)
"""silu(gate) * up of `M` rows of `N` values each (Shazeer, GLU Variants Improve Transformer, 2020)."""
