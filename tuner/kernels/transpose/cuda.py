"""The CUDA kernel's search space: the tile, the rows that a block moves at once, padding, and the order of tiles."""

from __future__ import annotations

from pathlib import Path

from tuner.gpus import limits_of
from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.toolchains.cuda import CudaKernel
from tuner.kernels.transpose.gpu import OPERATOR
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Workload

__all__ = ["KERNEL"]


def _space(_: Workload, device: Device) -> SearchSpace:
    return SearchSpace(
        [
            Parameter("TILE", (16, 32, 64), default=32),
            Parameter("ROWS", (2, 4, 8, 16, 32), default=8),
            Parameter("PAD", (0, 1, 2), default=1),
            Parameter.boolean("DIAGONAL"),
        ],
        [
            Constraint.parse("ROWS <= TILE", "a tile has so many rows"),
            Constraint.parse(f"TILE * ROWS <= {limits_of(device).block_threads}", "a block has so many threads"),
            Constraint.parse("TILE * ROWS >= 64", "a block has two warps or more"),
        ],
    )


def _program(config: Config, workload: Workload, _: Device) -> Program:
    tile = config.integer("TILE")
    grid = (blocks(workload.integer("M"), tile) * blocks(workload.integer("N"), tile),)
    return Program((Launch("kernel", grid, threads=tile * config.integer("ROWS")),))


KERNEL = CudaKernel(OPERATOR, Path(__file__).with_name("transpose.cu"), _space, _program)
"""`cuda:transpose`."""
