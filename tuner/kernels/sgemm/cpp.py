"""The C++ kernel's search space: the tile in registers, the blocks in caches, what is copied, how it compiles."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.sgemm.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel, thread_parameters
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Workload

__all__ = ["KERNEL"]

_FLOAT_BYTES = 4
# Blocks of the default: 256 steps of a tile's two vectors of b stay in the first cache, a block of a in the second.
_DEFAULT_ROWS, _DEFAULT_STEPS = 96, 256


def _space(workload: Workload, device: Device) -> SearchSpace:
    rows, columns, steps = (workload.integer(name) for name in "MNK")
    registers = device.feature("vector_registers")
    widest = device.feature("vector_bytes") // _FLOAT_BYTES
    # Half of a 64-byte register may win, since the full width can lower the clock; half of a shorter one never does.
    lanes = (8, 16) if widest == 16 else (widest,)
    l2_bytes = device.feature("l2_bytes")
    # The block of b is shared by all blocks of a, and the cache with other cores.
    block_b_bytes = device.feature("l3_bytes") // 2

    # Whole numbers of most tiles, below the matrix's own size.
    row_blocks = [*(size for size in (48, 96, 144, 192, 288, 384) if size < rows), rows]
    step_blocks = [*(size for size in (64, 128, 192, 256, 384, 512) if size < steps), steps]
    column_blocks = [*(size for size in (96, 192, 384, 768, 1536) if size < columns), columns]
    default_steps = min(_DEFAULT_STEPS, steps)
    default_columns = max(
        size
        for size in column_blocks
        if size == column_blocks[0] or _FLOAT_BYTES * default_steps * size <= block_b_bytes
    )
    # Two vectors are used by each number that is spread to a register; more rows then mean fewer loads of vectors.
    default_tile = max(rows for rows in (2, 3, 4, 6, 12) if (rows + 1) * 2 + 1 <= registers)
    return SearchSpace(
        [
            Parameter("LANES", lanes, default=widest),
            Parameter("MR", (2, 3, 4, 6, 8, 12), default=default_tile),
            Parameter("NRV", (1, 2, 3, 4), default=2),
            Parameter("MC", row_blocks, default=min(_DEFAULT_ROWS, rows)),
            Parameter("KC", step_blocks, default=default_steps),
            Parameter("NC", column_blocks, default=default_columns),
            Parameter("UNROLL", (1, 2, 4, 8), default=4),
            Parameter.boolean("PACK_A", default=True),
            Parameter.boolean("PACK_B", default=True),
            Parameter("PREFETCH", (0, 4, 16), default=0),
            Parameter("OPT", (2, 3), default=3),
            *thread_parameters(device),
        ],
        [
            Constraint.parse(
                f"(MR + 1) * NRV + 1 <= {registers}",
                "the tile's sums, its vectors of b and one number of a fit in the vector registers",
            ),
            Constraint.parse(
                f"MC % MR == 0 or MC == {rows}",
                "a block of rows is a whole number of tiles",
            ),
            Constraint.parse(
                f"NC % (NRV * LANES) == 0 or NC == {columns}",
                "a block of columns is a whole number of tiles",
            ),
            Constraint.parse(
                f"{_FLOAT_BYTES} * MC * KC <= {l2_bytes}",
                "a block of a stays in the L2 cache",
            ),
            Constraint.parse(
                f"{_FLOAT_BYTES} * KC * NC <= {block_b_bytes}",
                "a block of b takes at most half of the last cache",
            ),
        ],
    )


def _flags(config: Config) -> tuple[str, ...]:
    # Sums are already laid out for the vector unit; reassociating them only costs registers.
    return (f"-O{config['OPT']}", "-fno-associative-math")


KERNEL = CppKernel(OPERATOR, Path(__file__).with_name("sgemm.cpp"), _space, _flags)
"""`cpp:sgemm`."""
