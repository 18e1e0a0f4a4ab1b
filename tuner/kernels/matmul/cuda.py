"""The CUDA kernel's search space: tiles of blocks and of warps, stages of copies, the order of rows and of tiles."""

from __future__ import annotations

from pathlib import Path

from tuner.errors import WorkloadError
from tuner.gpus import Limits, limits_of
from tuner.kernels.gpu.arch import capability, has_fp8
from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.gpu.tensor import DTYPES, Tensor
from tuner.kernels.matmul.operator import is_scaled, out_dtype
from tuner.kernels.matmul.plain import OPERATOR
from tuner.kernels.toolchains.cuda import CudaKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Scalar, Workload

__all__ = ["KERNEL"]

_WARP_THREADS = 32
_PART_BYTES = 16
_OUT_BYTES = 2
_PARTS = (1, 2, 4, 8, 16)
_SUM_THREADS = 128
_SUM_VECTOR = 4
_LEAST_TILE = 16
# From how many rows on tiles are square.
_FEW_ROWS = 64
# Products of eight-bit floats become those of 16 bits in the assembler's hands, whose sums have all bits of a float.
_WITHOUT_FP8_MMA = (90, 100)


def _space(workload: Workload, device: Device) -> SearchSpace:
    if workload["dtype"] == "fp8" and not has_fp8(device):
        raise WorkloadError(f"{device.name} ({device.arch}) multiplies no eight-bit floats; use dtype=int8 or bf16")
    limits = limits_of(device)
    width = DTYPES[workload.text("dtype")].bytes
    rows = workload.integer("M")
    few = rows <= _FEW_ROWS
    tall = max(_LEAST_TILE, 1 << (rows - 1).bit_length()) if few else 128
    broad = 64 if few else 128
    # Of few rows a step computes little, and so brings more columns.
    deep, stages = (128, 5) if few else (64, 4)
    parts = tuple(count for count in _PARTS if count == 1 or count * 128 // width <= workload.integer("K"))
    return SearchSpace(
        [
            Parameter("TILE_M", (16, 32, 64, 128, 256), default=tall),
            Parameter("TILE_N", (32, 64, 128, 256), default=broad),
            Parameter("TILE_K", (64 // width, 128 // width), default=deep // width),
            Parameter("WARP_M", (16, 32, 64, 128), default=min(tall, 32) if few else 64),
            Parameter("WARP_N", (16, 32, 64, 128), default=(16 if tall == _LEAST_TILE else 32) if few else 64),
            Parameter("STAGES", (2, 3, 4, 5, 6), default=stages),
            Parameter("SWIZZLE", (False, True), default=True),
            Parameter("GROUP_M", (1, 4, 8, 16), default=8),
            Parameter("SPLIT_K", parts, default=_default_parts(workload, limits, parts, tall, broad)),
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
                f"STAGES * (TILE_M + TILE_N) * ({width} * TILE_K + (0 if SWIZZLE else {_PART_BYTES}))"
                f" <= {limits.block_shared_bytes}",
                "the stages fit in the shared memory of a block",
            ),
        ],
    )


def _default_parts(workload: Workload, limits: Limits, parts: tuple[int, ...], tall: int, broad: int) -> int:
    """Return in how many parts K is cut, so that every multiprocessor has about two tiles."""
    tiles = blocks(workload.integer("M"), tall) * blocks(workload.integer("N"), broad)
    depth = workload.integer("K")
    most = [count for count in parts if tiles * count <= 2 * limits.multiprocessors and count * 512 <= depth]
    return most[-1] if most else 1


def _program(config: Config, workload: Workload, device: Device) -> Program:
    rows, columns, parts = workload.integer("M"), workload.integer("N"), config.integer("SPLIT_K")
    tile_m, tile_n, warp_n = (config.integer(name) for name in ("TILE_M", "TILE_N", "WARP_N"))
    warps = tile_m * tile_n // (config.integer("WARP_M") * warp_n)
    row_bytes = DTYPES[workload.text("dtype")].bytes * config.integer("TILE_K")
    stage = (tile_m + tile_n) * (row_bytes + (0 if config["SWIZZLE"] else _PART_BYTES))
    # At the end, sixteen rows of each warp's outputs lie there, padded.
    outputs = warps * 16 * (_OUT_BYTES * warp_n + _PART_BYTES)
    constants: dict[str, Scalar] = {
        "OUT": out_dtype(workload),
        "SCALED": is_scaled(workload),
        "SHORT_SUMS": capability(device) not in _WITHOUT_FP8_MMA,
    }
    # Where there is nothing to point at, the output stands in: it is not read.
    scales = {name: name if is_scaled(workload) else "out" for name in ("x_scale", "weight_scale")}
    partial = "partial" if parts > 1 else "out"
    product = Launch(
        "kernel",
        (blocks(rows, tile_m) * blocks(columns, tile_n), parts),
        {"x": "x", "weight": "weight", **scales, "out": "out", "partial": partial},
        {**constants, "PART": 0},
        threads=_WARP_THREADS * warps,
        shared_bytes=max(config.integer("STAGES") * stage, outputs),
    )
    if parts == 1:
        return Program((product,))
    vector = _SUM_VECTOR if columns % _SUM_VECTOR == 0 else 1
    total = Launch(
        "summed",
        (blocks(columns, _SUM_THREADS * vector), rows),
        {"partial": "partial", **scales, "out": "out"},
        {**constants, "PART": 1, "SUM_THREADS": _SUM_THREADS},
        threads=_SUM_THREADS,
    )
    kind = "int32" if workload["dtype"] == "int8" else "fp32"
    return Program((product, total), {"partial": Tensor((parts, rows, columns), kind)})


KERNEL = CudaKernel(OPERATOR, Path(__file__).with_name("matmul.cu"), _space, _program)
"""`cuda:matmul`: products without epilogue."""
