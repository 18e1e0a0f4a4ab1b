"""The C++ kernel's search space: passes over a row, what is kept between them, and how the loops are unrolled."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.softmax.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel, thread_parameters
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

_FLOAT_BYTES = 4


def _space(workload: Workload, device: Device) -> SearchSpace:
    columns = workload.integer("N")
    registers = device.feature("vector_registers")
    widest = device.feature("vector_bytes") // _FLOAT_BYTES
    # Half of a 64-byte register may win, since the full width can lower the clock; half of a shorter one never does.
    lanes = (8, 16) if widest == 16 else (widest,)
    l2_bytes = device.feature("l2_bytes")
    default_unroll = 4 if columns % (4 * widest) == 0 else 1
    return SearchSpace(
        [
            Parameter("LANES", lanes, default=widest),
            Parameter("UNROLL", (1, 2, 4, 8), default=default_unroll),
            Parameter("ACCUMULATORS", (1, 2, 4, 8), default=default_unroll),
            Parameter("BLOCK", [*(block for block in (512, 2048, 8192) if block < columns), columns], default=columns),
            Parameter.categorical("KEEP", (0, 1, 2), default=1),
            Parameter("PREFETCH", (0, 512, 2048), default=0),
            Parameter.boolean("STREAM"),
            *thread_parameters(device),
        ],
        [
            Constraint.parse(
                f"{columns} % (LANES * UNROLL) == 0",
                "a row is a whole number of unrolled vectors",
            ),
            Constraint.parse(
                "UNROLL % ACCUMULATORS == 0",
                "each accumulator takes the same share of the unrolled vectors",
            ),
            Constraint.parse(
                f"UNROLL + ACCUMULATORS <= {registers}",
                "unrolled vectors and accumulators fit in the vector registers",
            ),
            Constraint.parse(
                f"KEEP != 2 or {_FLOAT_BYTES * columns} <= {l2_bytes // 2}",
                "the buffer of a row takes at most half of the L2 cache",
            ),
            Constraint.parse(
                "not STREAM or KEEP != 1",
                "a row that is written past the caches is not read again",
            ),
        ],
    )


KERNEL = CppKernel(
    OPERATOR,
    Path(__file__).with_name("softmax.cpp"),
    _space,
    # Partial sums are the parameter ACCUMULATORS; the compiler must not choose them anew.
    lambda _: ("-fno-associative-math",),
)
"""`cpp:softmax`."""
