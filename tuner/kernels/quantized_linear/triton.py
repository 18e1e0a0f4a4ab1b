"""The Triton kernel's search space: tiles, parts of K, warps and stages."""

from __future__ import annotations

from pathlib import Path

from tuner.gpus import limits_of
from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.gpu.tensor import Tensor
from tuner.kernels.quantized_linear.gpu import OPERATOR
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Workload

__all__ = ["KERNEL"]

_LEAST_ROWS = 16
_SUM_BLOCK = 1024
_PARTS = (1, 2, 4, 8, 16, 32)


def _space(workload: Workload, device: Device) -> SearchSpace:
    limits = limits_of(device)
    hip = device.kind == "hip"
    rows, outputs, columns = (workload.integer(name) for name in ("M", "N", "K"))
    most = max(_LEAST_ROWS, 1 << (rows - 1).bit_length())
    tall = [size for size in (16, 32, 64, 128) if size <= most]
    depths = [size for size in (32, 64, 128, 256) if size <= columns]
    group = workload.integer("GROUP")
    depth = max((size for size in depths if size <= 128 and group % size == 0), default=depths[0])
    parts = [count for count in _PARTS if count == 1 or count * 128 <= columns]
    filling = [n for n in parts if blocks(outputs, 64) * blocks(rows, tall[-1]) * n <= 2 * limits.multiprocessors]
    return SearchSpace(
        [
            Parameter("BLOCK_M", tall, default=min(tall[-1], 64)),
            Parameter("BLOCK_N", (16, 32, 64, 128, 256), default=64),
            Parameter("BLOCK_K", depths, default=depth),
            Parameter("SPLIT_K", parts, default=filling[-1] if filling else 1),
            Parameter("num_warps", (1, 2, 4, 8), default=4),
            Parameter("num_stages", (1, 2) if hip else (2, 3, 4, 5, 6), default=2 if hip else 4),
        ],
        [
            Constraint.parse(
                f"BLOCK_N * (BLOCK_M + BLOCK_K) <= {192 * limits.warp_threads} * num_warps",
                "the sums and the widened weights of a tile fit in the registers of its threads",
            ),
            Constraint.parse(
                f"(num_stages - 1) * BLOCK_K * (2 * BLOCK_M + BLOCK_N) <= {limits.block_shared_bytes}",
                "the tiles in flight fit in the shared memory of a block",
            ),
            Constraint.parse(
                f"BLOCK_K > {group} or {group} % BLOCK_K == 0",
                "blocks of columns do not cross the groups",
            ),
            Constraint.parse(f"SPLIT_K == 1 or SPLIT_K * BLOCK_K <= {columns}", "each part has columns of K to sum"),
        ],
    )


def _program(config: Config, workload: Workload, _: Device) -> Program:
    rows, outputs, parts = workload.integer("M"), workload.integer("N"), config.integer("SPLIT_K")
    grid = (blocks(outputs, config.integer("BLOCK_N")), blocks(rows, config.integer("BLOCK_M")), parts)
    if parts == 1:
        return Program((Launch("quantized_linear", grid, {"partial_ptr": "out"}),))
    total = Launch(
        "summed",
        (blocks(rows * outputs, _SUM_BLOCK),),
        constants={"BLOCK": _SUM_BLOCK},
        options={"num_warps": 4, "num_stages": 1},
    )
    return Program((Launch("quantized_linear", grid), total), {"partial": Tensor((parts, rows, outputs), "fp32")})


KERNEL = TritonKernel(OPERATOR, Path(__file__).with_name("program.py"), _space, _program)
"""`triton:quantized_linear`."""
