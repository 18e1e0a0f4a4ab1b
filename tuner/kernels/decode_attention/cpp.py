"""The C++ kernel's search space: tiles of scores and of outputs, the block between them, and how the cache is read."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.decode_attention.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

_FLOAT_BYTES = 4
_BYTES = {"bf16": 2, "fp32": 4}


def _space(workload: Workload, device: Device) -> SearchSpace:
    heads = workload.integer("HQ") // workload.integer("HKV")
    size, tokens = workload.integer("D"), workload.integer("S")
    number_bytes = _BYTES[workload.text("KV_DTYPE")]
    numbers_in_word = _FLOAT_BYTES // number_bytes
    registers = device.feature("vector_registers")
    widest = device.feature("vector_bytes") // _FLOAT_BYTES
    l2_bytes = device.feature("l2_bytes")

    groups = [group for group in (1, 2, 3, 4, 5, 6, 7, 8) if heads % group == 0]
    default_group = max(group for group in groups if group <= 4)
    blocks = [block for block in (16, 32, 64, 128, 256, 512) if block <= max(tokens, 16)]
    return SearchSpace(
        [
            Parameter("LANES", [lanes for lanes in (4, 8, 16) if widest // 2 <= lanes <= widest], default=widest),
            Parameter.categorical("WORDS", (False, True) if numbers_in_word > 1 else (False,)),
            Parameter("BLOCK", blocks, default=min(128, blocks[-1])),
            Parameter("GROUP", groups, default=default_group),
            Parameter("K_ROWS", (1, 2, 4, 8), default=2),
            Parameter("V_ROWS", (2, 4, 8, 16, 32), default=8),
            Parameter("V_VECTORS", (1, 2, 4, 8), default=2),
            Parameter("SPLITS", (1, 2, 4), default=1),
            Parameter("PREFETCH", (0, 1024, 4096), default=0),
            Parameter.boolean("EARLY"),
        ],
        [
            Constraint(
                lambda LANES, WORDS, V_VECTORS: (
                    size % (LANES * V_VECTORS) == 0
                    and size % (LANES * (numbers_in_word if WORDS else 1)) == 0
                    and V_VECTORS % (numbers_in_word if WORDS else 1) == 0
                ),
                "a head is a whole number of tiles, and a tile of outputs a whole number of words",
            ),
            Constraint(
                lambda WORDS, GROUP, K_ROWS: GROUP * K_ROWS + K_ROWS * (2 if WORDS else 1) + 1 <= registers,
                "the tile's scores, its keys and one vector of queries fit in the vector registers",
            ),
            Constraint(
                lambda GROUP, V_VECTORS: GROUP * V_VECTORS + V_VECTORS + 1 <= registers,
                "the tile's outputs, its values and one weight fit in the vector registers",
            ),
            Constraint(
                lambda BLOCK, K_ROWS, V_ROWS: K_ROWS <= BLOCK and V_ROWS <= BLOCK,
                "a block holds at least one tile of keys and one of values",
            ),
            Constraint(
                lambda BLOCK, GROUP: GROUP == heads or 2 * BLOCK * size * number_bytes <= l2_bytes,
                "a block that several groups of heads read again stays in the L2 cache",
            ),
            Constraint(
                lambda BLOCK, SPLITS: SPLITS == 1 or BLOCK * SPLITS <= tokens,
                "every split has at least one full block",
            ),
        ],
    )


KERNEL = CppKernel(
    OPERATOR,
    Path(__file__).with_name("decode_attention.cpp"),
    _space,
    # Sums are already laid out for the vector unit; reassociating them only costs registers.
    lambda _: ("-fno-associative-math",),
)
"""`cpp:decode_attention`."""
