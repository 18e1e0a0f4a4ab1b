"""The C++ kernel's search space: the tile of weights and activations in registers, and how weights are unpacked."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.int8_gemv.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

# Numbers in a 32-bit word of int8 weights.
_WORD = 4
_FLOAT_BYTES = 4


def _space(workload: Workload, device: Device) -> SearchSpace:
    batch, columns = workload.integer("M"), workload.integer("K")
    registers = device.feature("vector_registers")
    widest = device.feature("vector_bytes") // _FLOAT_BYTES
    l2_bytes = device.feature("l2_bytes")
    batches = sorted({*(size for size in (1, 2, 4, 8, 16) if size < batch), batch})
    chunks = [*(size for size in (512, 1024, 2048, 4096) if size < columns), columns]
    default_batch = max(size for size in batches if size <= 4)
    return SearchSpace(
        [
            Parameter("LANES", [lanes for lanes in (4, 8, 16) if lanes <= widest], default=widest),
            Parameter("ROWS", (1, 2, 3, 4, 6, 8), default=4 if default_batch == 1 else 2),
            Parameter("BATCH", batches, default=default_batch),
            Parameter("UNROLL", (1, 2, 4), default=1),
            Parameter("CHUNK", chunks, default=columns),
            Parameter.boolean("PACK", default=True),
            Parameter.boolean("WORDS", when=Constraint.parse("PACK")),
            Parameter("PREFETCH", (0, 1, 2, 4), default=0),
            Parameter.categorical("LOCALITY", (3, 2, 0), when=Constraint.parse("PREFETCH > 0")),
        ],
        [
            Constraint(
                lambda LANES, UNROLL, WORDS, CHUNK: (
                    columns % (LANES * UNROLL * (_WORD if WORDS else 1)) == 0
                    and CHUNK % (LANES * UNROLL * (_WORD if WORDS else 1)) == 0
                ),
                "columns and chunks are a whole number of unrolled steps",
            ),
            Constraint(
                lambda ROWS, BATCH, UNROLL: ROWS * BATCH * UNROLL + ROWS + 1 <= registers,
                "the tile's sums, one vector of weights a row and one of activations fit in the vector registers",
            ),
            Constraint(
                lambda CHUNK, PACK: not PACK or _FLOAT_BYTES * batch * CHUNK <= l2_bytes // 2,
                "the chunk's packed activations take at most half of the L2 cache; the weights stream through the rest",
            ),
        ],
    )


KERNEL = CppKernel(OPERATOR, Path(__file__).with_name("int8_gemv.cpp"), _space, lambda _: ("-fno-associative-math",))
"""`cpp:int8_gemv`."""
