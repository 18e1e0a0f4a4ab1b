"""What it computes on a GPU: the transpose of a float32 matrix."""

from __future__ import annotations

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import wide
from tuner.kernels.gpu.operator import TensorOperator, Tensors
from tuner.kernels.gpu.tensor import Tensor, bytes_of
from tuner.kernels.problem import Field
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]


def _inputs(workload: Workload) -> dict[str, Tensor]:
    return {"x": Tensor((workload.integer("M"), workload.integer("N")))}


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": Tensor((workload.integer("N"), workload.integer("M")))}


def _reference(_: Workload, inputs: Tensors) -> Tensors:
    return {"out": wide(inputs["x"]).T.contiguous()}


def _work(workload: Workload) -> Work:
    # Nothing is computed; one operation a number keeps the roofline defined.
    return Work(
        flops=workload.integer("M") * workload.integer("N"), bytes=bytes_of(_inputs(workload), _outputs(workload))
    )


OPERATOR = TensorOperator(
    name="transpose",
    fields=(Field("M"), Field("N")),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # Numbers are moved, not changed.
    tolerance=lambda _: Tolerance(relative=0.0, absolute=0.0),
    workloads={
        "square-8192": Workload(M=8192, N=8192),
        # Weights and activations of the published configuration.
        "llama3-8b-k-projection": Workload(M=1024, N=4096),
        "llama3-8b-prefill-4k": Workload(M=4096, N=4096),
    },
)
"""Transpose of a matrix of `M` rows and `N` columns."""
