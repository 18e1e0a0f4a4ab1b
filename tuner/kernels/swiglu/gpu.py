"""What it computes on a GPU: out = silu(gate) * up, where gate and up lie side by side in each row."""

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

# As on a CPU: both the straight parts of silu and the bend between them are met.
_GATE_SCALE = 3.0


def _inputs(workload: Workload) -> dict[str, Tensor]:
    shape = (workload.integer("M"), 2 * workload.integer("N"))
    return {"gate_up": Tensor(shape, workload.text("dtype"), scale=_GATE_SCALE)}


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": Tensor((workload.integer("M"), workload.integer("N")), workload.text("dtype"))}


def _reference(_: Workload, inputs: Tensors) -> Tensors:
    gate, up = wide(inputs["gate_up"]).chunk(2, dim=1)
    return {"out": torch_of().nn.functional.silu(gate) * up}


def _work(workload: Workload) -> Work:
    numbers = workload.integer("M") * workload.integer("N")
    return Work(flops=5 * numbers, bytes=bytes_of(_inputs(workload), _outputs(workload)))


def _extreme(inputs: Tensors, _: Any) -> Tensors:
    """Gates up to some hundreds: exponentials of those overflow float32, or vanish."""
    return {"gate_up": inputs["gate_up"] * 30}


OPERATOR = TensorOperator(
    name="swiglu",
    fields=(Field("M"), Field("N"), Field("dtype", default="bf16", choices=FLOATS)),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    tolerance=lambda workload: {
        "bf16": Tolerance(relative=2**-7, absolute=1e-6),
        "fp16": Tolerance(relative=2**-9, absolute=1e-6),
        "fp32": Tolerance(relative=2e-5, absolute=1e-30),
    }[workload.text("dtype")],
    distributions={"extreme": _extreme},
    workloads={
        # Sizes of the feed-forward block from the models' published configurations; M is the number of tokens.
        "llama3-8b-prefill-4k": Workload(M=4096, N=14336, dtype="bf16"),
        "llama3-8b-decode-64": Workload(M=64, N=14336, dtype="bf16"),
        "qwen3-32b-prefill-2k": Workload(M=2048, N=25600, dtype="bf16"),
    },
)
"""silu(gate) * up of `M` rows of `N` values each (Shazeer, GLU Variants Improve Transformer, 2020)."""
