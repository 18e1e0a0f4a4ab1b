"""Small kernels of tests: one that is right, and some that no compiler takes."""

from collections.abc import Mapping
from pathlib import Path

import triton
import triton.language as tl

from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.gpu.memory import wide
from tuner.kernels.gpu.operator import TensorOperator
from tuner.kernels.gpu.tensor import Tensor, bytes_of
from tuner.kernels.problem import Field
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.search_spaces import Parameter, SearchSpace
from tuner.types import Config, Device, Scalar, Work, Workload


@triton.jit
def scale(x_ptr, out_ptr, N, FACTOR: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, tl.load(x_ptr + i, mask=i < N) * FACTOR, mask=i < N)


@triton.jit
def unmasked(x_ptr, out_ptr, FACTOR: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, tl.load(x_ptr + i) * FACTOR)


@triton.jit
def needs_more(x_ptr, out_ptr, N, missing, BLOCK: tl.constexpr):
    tl.store(out_ptr, missing)


@triton.jit
def wrong_language(x_ptr, out_ptr, N, BLOCK: tl.constexpr):
    tl.no_such_thing(x_ptr)


OPERATOR = TensorOperator(
    name="scale",
    fields=(Field("N"), Field("dtype", default="fp32", choices=("fp32", "fp16", "bf16"))),
    inputs=lambda w: {"x": Tensor((w.integer("N"),), w.text("dtype"))},
    outputs=lambda w: {"out": Tensor((w.integer("N"),), w.text("dtype"))},
    reference=lambda w, inputs: {"out": wide(inputs["x"]) * 2},
    work=lambda w: Work(flops=w.integer("N"), bytes=bytes_of({"x": Tensor((2 * w.integer("N"),), w.text("dtype"))})),
)
SPACE = SearchSpace([Parameter("BLOCK", (64, 100, 256, 1024)), Parameter("num_warps", (1, 3, 4, 64), default=4)])


def kernel(entry: str, factor: float = 2.0, options: Mapping[str, Scalar] | None = None) -> TritonKernel:
    """Return a kernel of one of the functions."""

    def program(config: Config, workload: Workload, _: Device) -> Program:
        grid = (blocks(workload.integer("N"), config.integer("BLOCK")),)
        return Program((Launch(entry, grid, constants={"FACTOR": factor}, options=options or {}),))

    return TritonKernel(OPERATOR, Path(__file__), SPACE, program)


SCALE = kernel("scale")
UNMASKED = kernel("unmasked")
TRIPLE = kernel("scale", 3.0)
