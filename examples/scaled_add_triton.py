"""Your own Triton kernel; tune it with `tuner tune examples/scaled_add_triton.py:KERNEL -w N=65536 --device cuda`."""

import triton
import triton.language as tl

from tuner import Field, Parameter, SearchSpace, Tensor, TensorOperator, TritonKernel, Work


@triton.jit
def scaled_add(x_ptr, y_ptr, out_ptr, N, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x, y = tl.load(x_ptr + i, mask=i < N), tl.load(y_ptr + i, mask=i < N)
    tl.store(out_ptr + i, 2.0 * x + y, mask=i < N)


OPERATOR = TensorOperator(
    name="scaled_add",
    fields=[Field("N")],
    inputs=lambda w: {name: Tensor((w.integer("N"),)) for name in ("x", "y")},
    outputs=lambda w: {"out": Tensor((w.integer("N"),))},
    reference=lambda w, t: {"out": 2.0 * t["x"].double() + t["y"].double()},
    work=lambda w: Work(flops=2 * w.integer("N"), bytes=12 * w.integer("N")),
)
SPACE = SearchSpace([Parameter.powers_of_two("BLOCK", 128, 4096), Parameter.powers_of_two("num_warps", 1, 16)])

KERNEL = TritonKernel(OPERATOR, scaled_add, SPACE, grid=lambda c, w: (-(-w.integer("N") // c.integer("BLOCK")),))
