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


def _space(workload: Workload, device: Device) -> SearchSpace:
    limits = limits_of(device)
    hip = device.kind == "hip"
    # Tokens that an expert has on average decide how tall a tile is worth its rows.
    few = workload.integer("T") * workload.integer("TOPK") <= 16 * workload.integer("E")
    return SearchSpace(
        [
            Parameter("BLOCK_SIZE_M", (16, 32, 64, 128, 256), default=16 if few else 64),
            Parameter("BLOCK_SIZE_N", (16, 32, 64, 128, 256), default=64),
            Parameter("BLOCK_SIZE_K", (32, 64, 128, 256), default=64 if not hip else 32),
            Parameter("GROUP_SIZE_M", (1, 8, 16, 32, 64), default=1 if few else 8),
            Parameter("num_warps", (4, 8) if hip else (2, 4, 8), default=4),
            Parameter("num_stages", (1, 2) if hip else (2, 3, 4, 5), default=2 if hip else 3),
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


def _program(config: Config, workload: Workload, _: Device) -> Program:
    pairs, experts = workload.integer("T") * workload.integer("TOPK"), workload.integer("E")
    # Each expert that has pairs begins a tile of its own, and has at most one that is not full.
    most = min(pairs, blocks(pairs, config.integer("BLOCK_SIZE_M")) + experts)
    grid = (most * blocks(workload.integer("N"), config.integer("BLOCK_SIZE_N")),)
    return Program((Launch("fused_moe", grid, constants={"EXPERTS": 1 << (experts - 1).bit_length()}),))


KERNEL = TritonKernel(OPERATOR, Path(__file__).with_name("program.py"), _space, _program)
"""`triton:fused_moe`."""
