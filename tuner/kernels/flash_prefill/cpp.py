"""The C++ kernel's search space: blocks of queries and keys for the caches, tiles for the registers."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.flash_prefill.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel, thread_parameters
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

_FLOAT_BYTES = 4
# Blocks of the default: tiles of 6 and of 12 rows divide them.
_DEFAULT_BLOCKS = (48, 96)
# Vectors in a tile of the default: each number that is spread to a register meets two. Any head is a whole number of
# such tiles.
_DEFAULT_VECTORS = 2


def _space(workload: Workload, device: Device) -> SearchSpace:
    size, tokens = workload.integer("D"), workload.integer("S")
    registers = device.feature("vector_registers")
    widest = device.feature("vector_bytes") // _FLOAT_BYTES
    # Half of a 64-byte register may win, since the full width can lower the clock; half of a shorter one never does.
    lanes = (8, 16) if widest == 16 else (widest,)
    l2_bytes = device.feature("l2_bytes")

    smallest, *larger = (block for block in _DEFAULT_BLOCKS if block % (_DEFAULT_VECTORS * widest) == 0)
    blocks = [block for block in (16, 32, 48, 64, 96, 128, 192, 256, 384) if block <= max(tokens, smallest)]
    fitting = [block for block in larger if block in blocks and _FLOAT_BYTES * block * (block + 2 * size) <= l2_bytes]
    default_block = max([smallest, *fitting])
    # More rows mean fewer loads of vectors.
    default_rows = max(rows for rows in (2, 3, 4, 6, 12) if (rows + 1) * _DEFAULT_VECTORS + 1 <= registers)
    return SearchSpace(
        [
            Parameter("LANES", lanes, default=widest),
            Parameter("QUERIES", blocks, default=default_block),
            Parameter("KEYS", blocks, default=default_block),
            Parameter("ROWS", (2, 3, 4, 6, 8, 12), default=default_rows),
            Parameter("VECTORS", (1, 2, 4), default=_DEFAULT_VECTORS),
            Parameter("UNROLL", (1, 2, 4, 8), default=4),
            Parameter.boolean("PACK"),
            *thread_parameters(device),
        ],
        [
            Constraint.parse(
                f"QUERIES % (LANES * VECTORS) == 0 and {size} % (LANES * VECTORS) == 0",
                "a block of queries, and a head, is a whole number of tiles",
            ),
            Constraint.parse(
                "QUERIES % ROWS == 0 and KEYS % ROWS == 0",
                "a block of queries, and one of keys, is a whole number of tiles",
            ),
            Constraint.parse(
                f"(ROWS + 1) * VECTORS + 1 <= {registers}",
                "the tile's sums, its vectors and one number for all lanes fit in the vector registers",
            ),
            Constraint.parse(
                f"{_FLOAT_BYTES} * QUERIES * (KEYS + {2 * size}) <= {l2_bytes}",
                "a block's scores, queries and outputs fit in the L2 cache",
            ),
        ],
    )


KERNEL = CppKernel(
    OPERATOR,
    Path(__file__).with_name("flash_prefill.cpp"),
    _space,
    # Sums are already laid out for the vector unit; reassociating them only costs registers.
    lambda _: ("-fno-associative-math",),
)
"""`cpp:flash_prefill`."""
