"""The C++ kernel's search space: rows at a time, passes over a row, partial sums, and where the output goes."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.layernorm.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel, thread_parameters
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

_FLOAT_BYTES = 4


def _space(workload: Workload, device: Device) -> SearchSpace:
    rows, columns = workload.integer("M"), workload.integer("N")
    registers = device.feature("vector_registers")
    widest = device.feature("vector_bytes") // _FLOAT_BYTES
    # Half of a 64-byte register may win, since the full width can lower the clock; half of a shorter one never does.
    lanes = (8, 16) if widest == 16 else (widest,)
    default_unroll = 4 if columns % (4 * widest) == 0 else 1
    return SearchSpace(
        [
            Parameter("LANES", lanes, default=widest),
            Parameter("UNROLL", (1, 2, 4, 8), default=default_unroll),
            Parameter("ACCUMULATORS", (1, 2, 4, 8), default=default_unroll),
            Parameter("ROWS", [count for count in (1, 2, 4) if count <= rows], default=1),
            Parameter.boolean("ONE_PASS"),
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
                f"ROWS * (ACCUMULATORS * (2 if ONE_PASS else 1) + 1) + 1 <= {registers}",
                "each row's sums and its shift, and one vector of it, fit in the vector registers",
            ),
        ],
    )


KERNEL = CppKernel(
    OPERATOR,
    Path(__file__).with_name("layernorm.cpp"),
    _space,
    # Partial sums are the parameter ACCUMULATORS; the compiler must not choose them anew.
    lambda _: ("-fno-associative-math",),
)
"""`cpp:layernorm`."""
