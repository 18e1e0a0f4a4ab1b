"""The C++ kernel's search space: squares in registers, tiles in the caches, their order, and how memory is touched."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.toolchains.cpp import CppKernel, thread_parameters
from tuner.kernels.transpose.operator import OPERATOR
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

_FLOAT_BYTES = 4
_LINE_BYTES = 64


def _space(workload: Workload, device: Device) -> SearchSpace:
    rows, columns = workload.integer("M"), workload.integer("N")
    widest = device.feature("vector_bytes") // _FLOAT_BYTES
    # Half of a 64-byte register may win, since the full width can lower the clock; half of a shorter one never does.
    lanes = (8, 16) if widest == 16 else (widest,)
    l1_bytes, l2_bytes = device.feature("l1d_bytes"), device.feature("l2_bytes")

    def tiles(most: int) -> list[int]:
        return [size for size in (16, 32, 64, 128) if size == 16 or size <= most]

    return SearchSpace(
        [
            Parameter("LANES", lanes, default=widest),
            Parameter("UNROLL", (1, 2, 4), default=1),
            Parameter("TILE_M", tiles(rows), default=max(size for size in tiles(rows) if size <= 32)),
            Parameter("TILE_N", tiles(columns), default=max(size for size in tiles(columns) if size <= 32)),
            Parameter.boolean("ALONG_OUT"),
            Parameter.boolean("BUFFER"),
            Parameter.boolean("PREFETCH"),
            Parameter.boolean("STREAM"),
            *thread_parameters(device),
        ],
        [
            Constraint.parse(
                f"{rows} % (LANES * UNROLL) == 0 and TILE_M % (LANES * UNROLL) == 0",
                "the matrix, and a tile, is a whole number of steps high",
            ),
            Constraint.parse(
                f"{2 * _FLOAT_BYTES} * TILE_M * TILE_N <= {l2_bytes // 2}",
                "a tile and its transpose take at most half of the L2 cache",
            ),
            Constraint.parse(
                f"not BUFFER or {_FLOAT_BYTES} * TILE_M * TILE_N <= {l1_bytes // 2}",
                "the buffer of a tile takes at most half of the L1 cache",
            ),
            Constraint.parse(
                f"not STREAM or BUFFER or {_FLOAT_BYTES} * LANES * UNROLL >= {_LINE_BYTES}",
                "what is written past the caches comes in whole cache lines, or memory is read to fill them up",
            ),
        ],
    )


KERNEL = CppKernel(OPERATOR, Path(__file__).with_name("transpose.cpp"), _space)
"""`cpp:transpose`."""
