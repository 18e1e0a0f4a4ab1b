"""The C++ kernel's search space: the tile of weights and activations in registers, and how both are read."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.skinny_gemm.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

_FLOAT_BYTES = 4
_BYTES = {"bf16": 2, "fp32": 4}


def _space(workload: Workload, device: Device) -> SearchSpace:
    batch, columns = workload.integer("M"), workload.integer("K")
    # Weights in a 32-bit word.
    in_word = _FLOAT_BYTES // _BYTES[workload.text("dtype")]
    registers = device.feature("vector_registers")
    widest = device.feature("vector_bytes") // _FLOAT_BYTES
    # Half of a 64-byte register may win, since the full width can lower the clock; half of a shorter one never does.
    lanes = (8, 16) if widest == 16 else (widest,)
    # The weights stream through the other half.
    packed_bytes = device.feature("l2_bytes") // 2

    batches = sorted({*(size for size in (1, 2, 4, 8, 16) if size < batch), batch})
    default_batch = max(size for size in batches if size <= 4)
    chunks = [*(size for size in (512, 1024, 2048, 4096) if size < columns), columns]
    # As many rows as fill the registers, up to four streams of weights.
    default_rows = max(rows for rows in (1, 2, 3, 4) if rows * default_batch + rows + 1 <= registers)
    default_chunk = max(size for size in chunks if size == chunks[0] or _FLOAT_BYTES * batch * size <= packed_bytes)
    return SearchSpace(
        [
            Parameter("LANES", lanes, default=widest),
            Parameter("ROWS", (1, 2, 3, 4, 6, 8), default=default_rows),
            Parameter("BATCH", batches, default=default_batch),
            Parameter("UNROLL", (1, 2, 4), default=1),
            Parameter("CHUNK", chunks, default=default_chunk),
            Parameter.boolean("PACK", default=True),
            Parameter.categorical("WORDS", (False, True) if in_word > 1 else (False,), when=Constraint.parse("PACK")),
            Parameter("PREFETCH", (0, 1, 2, 4), default=0),
            Parameter.categorical("LOCALITY", (3, 2), when=Constraint.parse("PREFETCH > 0")),
        ],
        [
            Constraint.parse(
                f"{columns} % (LANES * UNROLL * ({in_word} if WORDS else 1)) == 0",
                "the columns are a whole number of steps",
            ),
            Constraint.parse(
                f"CHUNK % (LANES * UNROLL * ({in_word} if WORDS else 1)) == 0",
                "a chunk is a whole number of steps",
            ),
            Constraint.parse(
                f"ROWS * BATCH * UNROLL + ROWS * (2 if WORDS else 1) + 1 <= {registers}",
                "the tile's sums, its weights and one vector of activations fit in the vector registers",
            ),
            Constraint.parse(
                f"not PACK or {_FLOAT_BYTES * batch} * CHUNK <= {packed_bytes}",
                "the packed activations of a chunk take at most half of the L2 cache",
            ),
        ],
    )


KERNEL = CppKernel(
    OPERATOR,
    Path(__file__).with_name("skinny_gemm.cpp"),
    _space,
    # Sums are already laid out for the vector unit; reassociating them only costs registers.
    lambda _: ("-fno-associative-math",),
)
"""`cpp:skinny_gemm`."""
