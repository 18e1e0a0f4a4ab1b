"""What it computes: out = x @ (scale * weight)^T, with integer weights and a scale for each group of columns."""

from __future__ import annotations

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import torch_of, wide
from tuner.kernels.gpu.operator import TensorOperator, Tensors
from tuner.kernels.gpu.tensor import Tensor, bytes_of
from tuner.kernels.problem import Field
from tuner.types import Work, Workload

__all__ = ["OPERATOR", "groups"]

_MEAN_SQUARE = {8: 5500.0, 4: 21.5}
# Four bits stand for -8 to 7.
_OFFSET = 8


def groups(workload: Workload) -> int:
    """Return how many scales a row of weights has."""
    return workload.integer("K") // workload.integer("GROUP")


def _inputs(workload: Workload) -> dict[str, Tensor]:
    rows, outputs, columns, bits = (workload.integer(name) for name in ("M", "N", "K", "BITS"))
    dtype = workload.text("dtype")
    packed = Tensor((outputs, columns // 2), "uint8", low=0, high=256)
    weight = packed if bits == 4 else Tensor((outputs, columns), "int8", low=-128, high=128)
    # Outputs are around 1, whatever K is.
    scale = (columns * _MEAN_SQUARE[bits]) ** -0.5
    return {
        "x": Tensor((rows, columns), dtype),
        "weight": weight,
        "scales": Tensor((outputs, groups(workload)), dtype, scale=scale),
    }


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": Tensor((workload.integer("M"), workload.integer("N")), workload.text("dtype"))}


def _reference(workload: Workload, inputs: Tensors) -> Tensors:
    torch = torch_of()
    weight = inputs["weight"]
    if workload.integer("BITS") == 4:
        # Two columns share a byte, the first one in its lower half.
        weight = torch.stack([weight & 15, weight >> 4], dim=2).reshape(weight.shape[0], -1).to(torch.int16) - _OFFSET
    scales = wide(inputs["scales"]).repeat_interleave(workload.integer("GROUP"), dim=1)
    return {"out": wide(inputs["x"]) @ (weight.to(torch.float64) * scales).T}


def _work(workload: Workload) -> Work:
    flops = 2 * workload.integer("M") * workload.integer("N") * workload.integer("K")
    return Work(flops=flops, bytes=bytes_of(_inputs(workload), _outputs(workload)))


def _valid(workload: Workload) -> str | None:
    if workload.integer("BITS") not in _MEAN_SQUARE:
        return f"BITS={workload['BITS']} is not taken; choose 8 or 4"
    if workload.integer("K") % workload.integer("GROUP"):
        return f"K={workload['K']} is not a multiple of GROUP={workload['GROUP']}"
    return None


OPERATOR = TensorOperator(
    name="quantized_linear",
    fields=(
        Field("M"),
        Field("N"),
        Field("K", multiple_of=32),
        Field("BITS", default=4),
        Field("GROUP", default=128, multiple_of=32),
        Field("dtype", default="bf16", choices=("bf16", "fp16")),
    ),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # Weights times their scale are rounded to the dtype before they are multiplied.
    tolerance=lambda workload: (
        Tolerance(relative=2**-6, absolute=2e-2) if workload["dtype"] == "bf16" else Tolerance(2**-8, 3e-3)
    ),
    edges=lambda w: (
        {**w, "M": rows, "N": outputs, "K": w.integer("GROUP") * count}
        for rows, outputs, count in ((1, 37, 3), (5, 131, 1), (17, 64, 2), (w.integer("M"), 43, 1))
    ),
    workloads={
        # Layers from the models' published configurations; M is the number of sequences that decode together.
        "llama3-8b-down-decode-1-int4": Workload(M=1, N=4096, K=14336, BITS=4, GROUP=128, dtype="bf16"),
        "llama3-8b-down-decode-16-int4": Workload(M=16, N=4096, K=14336, BITS=4, GROUP=128, dtype="bf16"),
        "llama3-8b-qkv-decode-1-int8": Workload(M=1, N=6144, K=4096, BITS=8, GROUP=4096, dtype="bf16"),
        "llama3-70b-tp8-up-decode-64-int4": Workload(M=64, N=7168, K=8192, BITS=4, GROUP=128, dtype="bf16"),
    },
    valid=_valid,
)
"""Product of `M` rows of activations with `N` rows of weights of `BITS` bits, `GROUP` columns to a scale."""
