"""What it computes on a GPU: out = x @ y in float32, both stored by rows."""

from __future__ import annotations

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import wide
from tuner.kernels.gpu.operator import TensorOperator, Tensors
from tuner.kernels.gpu.tensor import Tensor, bytes_of
from tuner.kernels.problem import Field
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]


def _inputs(workload: Workload) -> dict[str, Tensor]:
    rows, columns, depth = (workload.integer(name) for name in "MNK")
    return {"x": Tensor((rows, depth)), "y": Tensor((depth, columns), scale=depth**-0.5)}


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": Tensor((workload.integer("M"), workload.integer("N")))}


def _reference(_: Workload, inputs: Tensors) -> Tensors:
    return {"out": wide(inputs["x"]) @ wide(inputs["y"])}


def _work(workload: Workload) -> Work:
    rows, columns, depth = (workload.integer(name) for name in "MNK")
    return Work(flops=2 * rows * columns * depth, bytes=bytes_of(_inputs(workload), _outputs(workload)))


OPERATOR = TensorOperator(
    name="sgemm",
    # Rows are loaded in vectors of four.
    fields=(Field("M"), Field("N", multiple_of=4), Field("K", multiple_of=4)),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # Sums of float32 in one order: of 4096 sorted products, which grow before they cancel, they were seen to be 3.4e-4
    # off. TensorFloat-32 is as far off in one value of three hundred.
    tolerance=lambda _: Tolerance(relative=1e-4, absolute=1e-3),
    workloads={
        "square-4096": Workload(M=4096, N=4096, K=4096),
        "square-1024": Workload(M=1024, N=1024, K=1024),
        # The feed-forward block of the published configuration, in single precision.
        "bert-base-ffn-batch8": Workload(M=4096, N=3072, K=768),
    },
)
"""Product of two float32 matrices."""
