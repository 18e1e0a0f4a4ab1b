"""The C++ kernel's search space: tiles of scores and of outputs, the block between them, and how the cache is read."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.decode_attention.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel, thread_parameters
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

_FLOAT_BYTES = 4
# Heads in a tile, which has the upper and the lower half of each one's weights.
_TILE_HEADS = 8
# Tokens in a tile of weights.
_TILE_TOKENS = 32
_FMA = Constraint.parse("UNIT == 'fma'")
_BYTES = {"bf16": 2, "fp32": 4}


def _space(workload: Workload, device: Device) -> SearchSpace:
    heads = workload.integer("HQ") // workload.integer("HKV")
    size, tokens = workload.integer("D"), workload.integer("S")
    number_bytes = _BYTES[workload.text("KV_DTYPE")]
    # Numbers of the cache in a 32-bit word.
    in_word = _FLOAT_BYTES // number_bytes
    registers = device.feature("vector_registers")
    widest = device.feature("vector_bytes") // _FLOAT_BYTES
    # Half of a 64-byte register may win, since the full width can lower the clock; half of a shorter one never does.
    lanes = (8, 16) if widest == 16 else (widest,)
    l2_bytes = device.feature("l2_bytes")

    groups = [group for group in (1, 2, 3, 4, 5, 6, 7, 8) if heads % group == 0]
    default_group = max(group for group in groups if group <= 4)
    blocks = [block for block in (16, 32, 64, 128, 256, 512) if block <= max(tokens, 16)]
    token_bytes = 2 * size * number_bytes
    default_block = max(block for block in blocks if block == 16 or (block <= 128 and block * token_bytes <= l2_bytes))
    tiled = bool(device.features.get("amx", False)) and number_bytes == 2 and heads <= _TILE_HEADS
    if tiled:
        # The values of more tokens, side by side, do not stay in the first cache.
        default_block = max(block for block in blocks if block <= _TILE_TOKENS)
    return SearchSpace(
        [
            Parameter.categorical("UNIT", ("fma", "tile") if tiled else ("fma",), default="tile" if tiled else "fma"),
            Parameter("LANES", lanes, default=widest, when=_FMA),
            Parameter.categorical("WORDS", (False, True) if in_word > 1 else (False,), when=_FMA),
            Parameter("BLOCK", blocks, default=default_block),
            Parameter("GROUP", groups, default=default_group, when=_FMA),
            Parameter("K_ROWS", (1, 2, 3, 4, 8), default=2, when=_FMA),
            Parameter("V_ROWS", (2, 4, 8, 16, 32), default=8, when=_FMA),
            Parameter("V_VECTORS", (1, 2, 4, 8), default=2, when=_FMA),
            Parameter("SPLITS", (1, 2, 4), default=1, when=_FMA),
            Parameter("PREFETCH", (0, 1024, 4096), default=1024 if tiled else 0),
            Parameter.boolean("EARLY", default=tiled),
            *thread_parameters(device),
        ],
        [
            Constraint.parse(
                f"{size} % (LANES * V_VECTORS) == 0",
                "a head is a whole number of tiles of outputs",
            ),
            Constraint.parse(
                f"not WORDS or ({size} % (LANES * {in_word}) == 0 and V_VECTORS % {in_word} == 0)",
                "a head, and a tile of outputs, is a whole number of vectors of words",
            ),
            Constraint.parse(
                f"GROUP * K_ROWS + K_ROWS * (2 if WORDS else 1) + 1 <= {registers}",
                "the tile's scores, its keys and one vector of queries fit in the vector registers",
            ),
            Constraint.parse(
                f"GROUP * V_VECTORS + V_VECTORS + 1 <= {registers}",
                "the tile's outputs, its values and one weight fit in the vector registers",
            ),
            Constraint.parse(
                "K_ROWS <= BLOCK and V_ROWS <= BLOCK",
                "a block holds at least one tile of keys and one of values",
            ),
            Constraint.parse(
                f"GROUP == {heads} or BLOCK * {token_bytes} <= {l2_bytes}",
                "a block that several groups of heads read again stays in the L2 cache",
            ),
            Constraint.parse(
                f"SPLITS == 1 or BLOCK * SPLITS <= {tokens}",
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
