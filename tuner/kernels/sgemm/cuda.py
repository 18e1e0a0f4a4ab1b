"""The CUDA kernel's search space: tiles of a block, a warp and a thread, their order, and buffers."""

from __future__ import annotations

from pathlib import Path

from tuner.gpus import limits_of
from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.sgemm.gpu import OPERATOR
from tuner.kernels.toolchains.cuda import CudaKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Workload

__all__ = ["KERNEL"]

# Shared memory that a function has without asking.
_STATIC_BYTES = 48 << 10


def _space(_: Workload, device: Device) -> SearchSpace:
    limits = limits_of(device)
    return SearchSpace(
        [
            Parameter("TILE_M", (32, 64, 128, 256), default=128),
            Parameter("TILE_N", (32, 64, 128, 256), default=128),
            Parameter("TILE_K", (8, 16, 32), default=8),
            Parameter("THREAD_M", (4, 8, 16), default=8),
            Parameter("THREAD_N", (4, 8, 16), default=8),
            Parameter("LANES_M", (1, 2, 4, 8), default=4),
            Parameter("GROUP_M", (1, 4, 8, 16), default=8),
            Parameter("PAD", (0, 4), default=4),
            Parameter("BUFFERS", (1, 2), default=2),
        ],
        [
            Constraint.parse(
                f"TILE_M * TILE_N <= {limits.block_threads} * THREAD_M * THREAD_N", "a block has so many threads"
            ),
            Constraint.parse("TILE_M * TILE_N >= 64 * THREAD_M * THREAD_N", "a block has two warps or more"),
            Constraint.parse(
                "TILE_M % (LANES_M * THREAD_M) == 0 and TILE_N * LANES_M % (32 * THREAD_N) == 0",
                "a tile is whole tiles of warps",
            ),
            Constraint.parse("THREAD_M * THREAD_N <= 128", "the sums of a thread fit in its registers"),
            Constraint.parse(
                f"4 * BUFFERS * TILE_K * (TILE_M + PAD + TILE_N) <= {_STATIC_BYTES}", "the tiles fit in shared memory"
            ),
        ],
    )


def _program(config: Config, workload: Workload, _: Device) -> Program:
    tile_m, tile_n = config.integer("TILE_M"), config.integer("TILE_N")
    threads = tile_m * tile_n // (config.integer("THREAD_M") * config.integer("THREAD_N"))
    grid = (blocks(workload.integer("M"), tile_m) * blocks(workload.integer("N"), tile_n),)
    return Program((Launch("kernel", grid, threads=threads),))


KERNEL = CudaKernel(OPERATOR, Path(__file__).with_name("sgemm.cu"), _space, _program)
"""`cuda:sgemm`."""
