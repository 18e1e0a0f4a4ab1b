"""The CUDA kernel's search space: the tile of a plane, the planes of a block, and where neighbours come from."""

from __future__ import annotations

from pathlib import Path

from tuner.gpus import limits_of
from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.stencil.gpu import OPERATOR
from tuner.kernels.toolchains.cuda import CudaKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Workload

__all__ = ["KERNEL"]


def _space(_: Workload, device: Device) -> SearchSpace:
    limits = limits_of(device)
    return SearchSpace(
        [
            Parameter("BLOCK_X", (16, 32, 64, 128), default=32),
            Parameter("BLOCK_Y", (1, 2, 4, 8, 16, 32), default=8),
            Parameter("PLANES", (1, 4, 16, 64), default=16),
            Parameter("UNROLL", (1, 2, 4)),
            Parameter("MIN_BLOCKS", (1, 2, 4)),
            Parameter.boolean("SHARED", default=True),
        ],
        [
            Constraint.parse(f"BLOCK_X * BLOCK_Y <= {limits.block_threads}", "a block has so many threads"),
            Constraint.parse("BLOCK_X * BLOCK_Y >= 64", "a block has two warps or more"),
            Constraint.parse(
                f"MIN_BLOCKS * BLOCK_X * BLOCK_Y <= {limits.multiprocessor_threads}",
                "so many blocks fit on a multiprocessor",
            ),
        ],
    )


def _program(config: Config, workload: Workload, _: Device) -> Program:
    grid = (
        blocks(workload.integer("NX"), config.integer("BLOCK_X")),
        blocks(workload.integer("NY"), config.integer("BLOCK_Y")),
        blocks(workload.integer("NZ"), config.integer("PLANES")),
    )
    return Program((Launch("kernel", grid, threads=config.integer("BLOCK_X") * config.integer("BLOCK_Y")),))


KERNEL = CudaKernel(OPERATOR, Path(__file__).with_name("stencil.cu"), _space, _program)
"""`cuda:stencil`."""
