"""The Triton kernel's search space: tiles, their order, parts of K, and how tiles are loaded."""

from __future__ import annotations

from pathlib import Path

from tuner.errors import WorkloadError
from tuner.gpus import Limits, limits_of
from tuner.kernels.gpu.arch import has_fp8, has_tensor_memory, has_tensor_memory_accelerator
from tuner.kernels.gpu.launch import Launch, Program, blocks
from tuner.kernels.gpu.tensor import DTYPES, Tensor
from tuner.kernels.matmul.operator import OPERATOR, is_scaled
from tuner.kernels.toolchains.triton import TritonKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Scalar, Workload

__all__ = ["KERNEL"]

_LEAST_TILE = 16
_LARGEST_TILE = 256
# Sums that a thread keeps in registers, with room for what it loads and computes with.
_THREAD_SUMS = 192
_SUM_COLUMNS = 1024
_DEEPEST_TILE_BYTES, _DEEPEST_ROW_BYTES = 256, 2048
# Up to so many rows, each may be multiplied by itself: their weights are read again from a cache.
_MOST_SINGLE_ROWS = 4
_ROW_SUMS = 64
_VECTOR_BYTES = 16
_PARTS = (1, 2, 4, 8, 16)


def _space(workload: Workload, device: Device) -> SearchSpace:
    if workload["dtype"] == "fp8" and not has_fp8(device):
        raise WorkloadError(f"{device.name} ({device.arch}) multiplies no eight-bit floats; use dtype=int8 or bf16")
    limits = limits_of(device)
    width = DTYPES[workload.text("dtype")].bytes
    halves = 2 if workload["epilogue"] == "silu_mul" else 1
    rows, columns = _tile_sizes(workload.integer("M")), _tile_sizes(workload.integer("N"))
    by_rows = workload.integer("M") <= _MOST_SINGLE_ROWS
    if by_rows:
        rows, columns = (1, *rows), (4, 8, *columns)
    deepest = _DEEPEST_ROW_BYTES if by_rows else _DEEPEST_TILE_BYTES
    depths = tuple(depth for depth in (32, 64, 128, 256, 512, 1024) if 32 <= depth * width <= deepest)
    tall, broad, deep, warps, stages = _default_tile(workload, device, width, halves)
    descriptors = has_tensor_memory_accelerator(device) and workload.integer("K") * width % 16 == 0
    # Where tiles are large, loading them takes registers and instructions that a descriptor saves.
    many = workload.integer("M") > 64
    return SearchSpace(
        [
            Parameter("BLOCK_M", rows, default=min(tall, rows[-1])),
            Parameter("BLOCK_N", columns, default=min(broad, columns[-1])),
            Parameter("BLOCK_K", depths, default=deep // width),
            Parameter("GROUP_M", (1, 4, 8, 16), default=8),
            Parameter("SPLIT_K", _PARTS, default=_default_parts(workload, limits, tall, broad)),
            Parameter("num_warps", (4, 8) if limits.warp_threads > 32 else (2, 4, 8), default=warps),
            Parameter("num_stages", (1, 2) if device.kind == "hip" else (2, 3, 4, 5, 6), default=stages),
            Parameter.boolean("PERSISTENT"),
            Parameter.boolean("DESCRIPTOR", many) if descriptors else Parameter("DESCRIPTOR", (False,)),
        ],
        [
            Constraint.parse(
                f"{halves} * BLOCK_M * BLOCK_N <= {_THREAD_SUMS * limits.warp_threads} * num_warps",
                "the sums of a tile fit in the registers of its threads",
            ),
            Constraint.parse(
                f"BLOCK_M == 1 or (num_stages - 1) * {width} * BLOCK_K * (BLOCK_M + {halves} * BLOCK_N)"
                f" <= {limits.block_shared_bytes}",
                "the tiles in flight fit in the shared memory of a block",
            ),
            Constraint.parse("not PERSISTENT or SPLIT_K == 1", "programs that persist compute whole tiles"),
            Constraint.parse(
                f"SPLIT_K == 1 or SPLIT_K * BLOCK_K <= {workload.integer('K')}", "each part has columns of K to sum"
            ),
            *(_constraints_of_rows(limits, width, halves) if by_rows else []),
        ],
    )


def _constraints_of_rows(limits: Limits, width: int, halves: int) -> list[Constraint]:
    """Return what holds where single rows are multiplied without matrix units."""
    threads = limits.warp_threads
    return [
        Constraint.parse(
            f"BLOCK_M == 1 or BLOCK_N >= {_LEAST_TILE} and {width} * BLOCK_K <= {_DEEPEST_TILE_BYTES}",
            "matrix units take tiles of such sizes",
        ),
        Constraint.parse(
            f"BLOCK_M > 1 or {halves} * BLOCK_N * BLOCK_K <= {_ROW_SUMS * threads} * num_warps",
            "the sums of a row fit in the registers of its threads",
        ),
        Constraint.parse(
            f"BLOCK_M > 1 or {width} * BLOCK_N * BLOCK_K >= {_VECTOR_BYTES * threads} * num_warps",
            "every thread loads a vector of weights",
        ),
        Constraint.parse("BLOCK_M > 1 or not DESCRIPTOR", "single rows are not loaded by descriptors"),
        # Nothing is staged: one of them stands for all.
        Constraint.parse("BLOCK_M > 1 or num_stages == 2", "the weights of single rows are not staged"),
    ]


def _tile_sizes(size: int) -> tuple[int, ...]:
    """Return powers of two up to the first that covers `size`."""
    largest = min(_LARGEST_TILE, max(_LEAST_TILE, 1 << (size - 1).bit_length()))
    return tuple(tile for tile in (16, 32, 64, 128, 256) if tile <= largest)


def _default_tile(workload: Workload, device: Device, width: int, halves: int) -> tuple[int, int, int, int, int]:
    """Return rows, columns, bytes of K, warps and stages that are usual for so many rows."""
    limits = limits_of(device)
    rows = workload.integer("M")
    if rows == 1:
        return 1, 16, 512, 4, 2
    if rows <= 64:
        return max(_LEAST_TILE, 1 << (rows - 1).bit_length()), 64, 128, 4, 2 if limits.warp_threads > 32 else 4
    if has_tensor_memory_accelerator(device) and not has_tensor_memory(device) and width * halves == 1:
        # Sums of eight-bit floats are kept twice: in tensor cores for a block of K, and in all bits.
        return 128, 128, 128, 4, 3
    # Broader tiles pay where sums stay in registers of many warps, as on Ampere and Hopper.
    if limits.block_shared_bytes < 160 << 10 or width != 2 or halves == 2 or has_tensor_memory(device):
        return 128, 128, 64, 8, 2 if limits.warp_threads > 32 else 3
    return 128, 256, 128, 8, 2 if limits.warp_threads > 32 else 3


def _default_parts(workload: Workload, limits: Limits, tall: int, broad: int) -> int:
    """Return in how many parts K is cut, so that every multiprocessor has about one tile."""
    tiles = blocks(workload.integer("M"), tall) * blocks(workload.integer("N"), broad)
    depth = workload.integer("K")
    most = [parts for parts in _PARTS if tiles * parts <= limits.multiprocessors and parts * 512 <= depth]
    return most[-1] if most else 1


def _program(config: Config, workload: Workload, device: Device) -> Program:
    rows, columns = workload.integer("M"), workload.integer("N")
    parts = config.integer("SPLIT_K")
    tiles = blocks(rows, config.integer("BLOCK_M")) * blocks(columns, config.integer("BLOCK_N"))
    # Where there is nothing to point at, the output stands in: it is not read.
    absent = {
        f"{name}_ptr": "out"
        for name, there in (
            ("bias", workload.text("epilogue").startswith("bias")),
            ("x_scale", is_scaled(workload)),
            ("weight_scale", is_scaled(workload)),
            ("partial", parts > 1),
        )
        if not there
    }
    scaled: dict[str, Scalar] = {"SCALED": is_scaled(workload), "EPILOGUE": workload.text("epilogue")}
    grid = (min(tiles, limits_of(device).multiprocessors), 1) if config["PERSISTENT"] else (tiles, parts)
    even = workload.integer("K") % (config.integer("BLOCK_K") * parts) == 0
    product = Launch("matmul", grid, absent, {**scaled, "EVEN_K": even})
    if parts == 1:
        return Program((product,))
    width = min(_SUM_COLUMNS, 1 << (columns - 1).bit_length())
    total = Launch(
        "summed",
        (rows, blocks(columns, width)),
        {name: tensor for name, tensor in absent.items() if name != "partial_ptr"},
        {**scaled, "BLOCK": width},
        {"num_warps": 4, "num_stages": 1},
    )
    halves = 2 if workload["epilogue"] == "silu_mul" else 1
    kind = "int32" if workload["dtype"] == "int8" else "fp32"
    return Program((product, total), {"partial": Tensor((halves * parts, rows, columns), kind)})


KERNEL = TritonKernel(OPERATOR, Path(__file__).with_name("program.py"), _space, _program)
"""`triton:matmul`."""
