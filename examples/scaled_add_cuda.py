"""Your own CUDA kernel; tune it with `tuner tune examples/scaled_add_cuda.py:KERNEL -w N=65536 --device cuda`."""

from pathlib import Path

from tuner import CudaKernel, Field, Parameter, SearchSpace, Tensor, TensorOperator, Work

OPERATOR = TensorOperator(
    name="scaled_add",
    fields=[Field("N", multiple_of=4)],
    inputs=lambda w: {name: Tensor((w.integer("N"),)) for name in ("x", "y")},
    outputs=lambda w: {"out": Tensor((w.integer("N"),))},
    reference=lambda w, t: {"out": 2.0 * t["x"].double() + t["y"].double()},
    work=lambda w: Work(flops=2 * w.integer("N"), bytes=12 * w.integer("N")),
)
SPACE = SearchSpace([Parameter.powers_of_two("THREADS", 64, 1024), Parameter.powers_of_two("VECTOR", 1, 4)])

KERNEL = CudaKernel(
    OPERATOR,
    Path(__file__).with_name("scaled_add.cu"),
    SPACE,
    grid=lambda c, w: (-(-w.integer("N") // (c.integer("THREADS") * c.integer("VECTOR"))),),
)
