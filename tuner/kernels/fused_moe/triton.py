"""The Triton kernel's search space, in the parameters of vLLM, so that its tuned files and ours can be exchanged."""

from __future__ import annotations

from pathlib import Path

from tuner.gpus import limits_of
from tuner.kernels.fused_moe.gpu import OPERATOR
from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Workload

__all__ = ["KERNEL"]

_BYTES = 2
_THREAD_SUMS = 192
# Three stages of 128 and 256 rows of 128 bytes.
_LARGE_TILE_BYTES = 3 * 384 * 128


def _space(workload: Workload, device: Device) -> SearchSpace:
    limits = limits_of(device)
    hip = device.kind == "hip"
    tall, broad, deep, group, warps, stages = _default(workload, device)
    return SearchSpace(
        [
            Parameter("BLOCK_SIZE_M", (16, 32, 64, 128, 256), default=tall),
            Parameter("BLOCK_SIZE_N", (16, 32, 64, 128, 256), default=broad),
            Parameter("BLOCK_SIZE_K", (32, 64, 128, 256), default=deep),
            Parameter("GROUP_SIZE_M", (1, 8, 16, 32, 64), default=group),
            Parameter("num_warps", (4, 8) if hip else (2, 4, 8), default=warps),
            Parameter("num_stages", (1, 2) if hip else (2, 3, 4, 5), default=stages),
        ],
        [
            Constraint.parse(
                f"BLOCK_SIZE_M * BLOCK_SIZE_N <= {_THREAD_SUMS * limits.warp_threads} * num_warps",
                "the sums of a tile fit in the registers of its threads",
            ),
            Constraint.parse(
                f"(num_stages - 1) * {_BYTES} * BLOCK_SIZE_K * (BLOCK_SIZE_M + BLOCK_SIZE_N) "
                f"<= {limits.block_shared_bytes}",
                "the tiles in flight fit in the shared memory of a block",
            ),
        ],
    )


def _default(workload: Workload, device: Device) -> tuple[int, int, int, int, int, int]:
    """Return rows, columns, depth, group, warps and stages that are usual for so many tokens of an expert."""
    tokens = workload.integer("T") * workload.integer("TOPK") / workload.integer("E")
    large = limits_of(device).block_shared_bytes >= _LARGE_TILE_BYTES
    if device.kind == "hip":
        return (16, 64, 64, 1, 4, 2) if tokens <= 16 else (64, 64, 32, 8, 4, 2)
    if tokens <= 8:
        return 16, 128, 128, 1, 4, 2
    if tokens <= 32:
        return 32, 128, 128 if large else 64, 1, 4, 3
    if tokens <= 128 or not large:
        return 64, 128, 64, 8, 4, 3
    return 128, 256, 64, 16, 8, 4


def _program(config: Config, workload: Workload, _: Device) -> Program:
    pairs, experts = workload.integer("T") * workload.integer("TOPK"), workload.integer("E")
    # Each expert that has pairs begins a tile of its own, and has at most one that is not full.
    most = min(pairs, blocks(pairs, config.integer("BLOCK_SIZE_M")) + experts)
    grid = (most * blocks(workload.integer("N"), config.integer("BLOCK_SIZE_N")),)
    return Program((Launch("fused_moe", grid, constants={"EXPERTS": 1 << (experts - 1).bit_length()}),))


KERNEL = TritonKernel(OPERATOR, Path(__file__).with_name("program.py"), _space, _program)
"""`triton:fused_moe`."""
