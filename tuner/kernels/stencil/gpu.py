"""What it computes: out = x + RATE * (sum of the six neighbours - 6 x) inside the grid; the border stays."""

from __future__ import annotations

from tuner.kernels.check import Tolerance
from tuner.kernels.gpu.memory import wide
from tuner.kernels.gpu.operator import TensorOperator, Tensors
from tuner.kernels.gpu.tensor import Tensor, bytes_of
from tuner.kernels.problem import Field
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]

# As in stencil.cu: below 1/6, above which the step would not be stable.
_RATE = 0.125


def _inputs(workload: Workload) -> dict[str, Tensor]:
    return {"x": Tensor(tuple(workload.integer(name) for name in ("NZ", "NY", "NX")))}


def _outputs(workload: Workload) -> dict[str, Tensor]:
    return {"out": _inputs(workload)["x"]}


def _reference(_: Workload, inputs: Tensors) -> Tensors:
    x = wide(inputs["x"])
    out = x.clone()
    inner = x[1:-1, 1:-1, 1:-1]
    around = x[:-2, 1:-1, 1:-1] + x[2:, 1:-1, 1:-1] + x[1:-1, :-2, 1:-1] + x[1:-1, 2:, 1:-1]
    around = around + x[1:-1, 1:-1, :-2] + x[1:-1, 1:-1, 2:]
    out[1:-1, 1:-1, 1:-1] = inner + _RATE * (around - 6 * inner)
    return {"out": out}


def _work(workload: Workload) -> Work:
    points = workload.integer("NX") * workload.integer("NY") * workload.integer("NZ")
    return Work(flops=9 * points, bytes=bytes_of(_inputs(workload), _outputs(workload)))


OPERATOR = TensorOperator(
    name="stencil",
    fields=(Field("NX"), Field("NY"), Field("NZ")),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    tolerance=lambda _: Tolerance(relative=1e-5, absolute=5e-6),
    workloads={
        "cube-512": Workload(NX=512, NY=512, NZ=512),
        "slab-1024": Workload(NX=1024, NY=1024, NZ=128),
    },
)
"""One step on a grid of `NZ` planes of `NY` rows of `NX` float32."""
