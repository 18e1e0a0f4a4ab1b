"""The CUDA kernel's search space: tiles of blocks and of warps, stages of copies, padding, and the order of tiles."""

from __future__ import annotations

from pathlib import Path

from tuner.gpus import limits_of
from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.matmul.plain import OPERATOR
from tuner.kernels.toolchains.cuda import CudaKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Workload

__all__ = ["KERNEL"]

_BYTES = 2
_WARP_THREADS = 32
# Bytes of a fragment of sums, one a warp, that go through the same memory at the end.
_FRAGMENT_BYTES = 1024


def _space(workload: Workload, device: Device) -> SearchSpace:
    limits = limits_of(device)
    small = workload.integer("M") <= 64
    return SearchSpace(
        [
            Parameter("TILE_M", (32, 64, 128, 256), default=32 if small else 128),
            Parameter("TILE_N", (32, 64, 128, 256), default=64 if small else 128),
            Parameter("TILE_K", (16, 32, 64), default=32),
            Parameter("WARP_M", (16, 32, 64), default=16 if small else 64),
            Parameter("WARP_N", (16, 32, 64), default=32),
            Parameter("STAGES", (2, 3, 4, 5), default=3),
            Parameter("PAD", (0, 8, 16), default=8),
            Parameter("GROUP_M", (1, 4, 8), default=8),
        ],
        [
            Constraint.parse("TILE_M % WARP_M == 0 and TILE_N % WARP_N == 0", "a tile is whole tiles of warps"),
            Constraint.parse(
                f"{_WARP_THREADS} * TILE_M * TILE_N <= {limits.block_threads} * WARP_M * WARP_N",
                "a block has so many warps",
            ),
            Constraint.parse("TILE_M * TILE_N >= 2 * WARP_M * WARP_N", "a block has two warps or more"),
            Constraint.parse("WARP_M * WARP_N <= 4096", "the sums of a warp fit in its registers"),
            Constraint.parse(
                f"{_BYTES} * STAGES * (TILE_M + TILE_N) * (TILE_K + PAD) <= {limits.block_shared_bytes}",
                "the stages fit in the shared memory of a block",
            ),
        ],
    )


def _program(config: Config, workload: Workload, _: Device) -> Program:
    tile_m, tile_n = config.integer("TILE_M"), config.integer("TILE_N")
    warps = tile_m * tile_n // (config.integer("WARP_M") * config.integer("WARP_N"))
    stage = (tile_m + tile_n) * (config.integer("TILE_K") + config.integer("PAD"))
    shared = max(_BYTES * config.integer("STAGES") * stage, _FRAGMENT_BYTES * warps)
    grid = (blocks(workload.integer("M"), tile_m) * blocks(workload.integer("N"), tile_n),)
    return Program((Launch("kernel", grid, threads=_WARP_THREADS * warps, shared_bytes=shared),))


KERNEL = CudaKernel(OPERATOR, Path(__file__).with_name("matmul.cu"), _space, _program)
"""`cuda:matmul`: products of 16 bits, without epilogue."""
