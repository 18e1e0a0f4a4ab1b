"""The C++ kernel's search space: vector width, partial sums, prefetch, and where the sums and the outputs go."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.add_rmsnorm.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel, thread_parameters
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

_FLOAT_BYTES = 4


def _space(workload: Workload, device: Device) -> SearchSpace:
    columns = workload.integer("N")
    registers = device.feature("vector_registers")
    widest = device.feature("vector_bytes") // _FLOAT_BYTES
    l2_bytes = device.feature("l2_bytes")
    return SearchSpace(
        [
            Parameter("LANES", [lanes for lanes in (4, 8, 16) if widest // 2 <= lanes <= widest], default=widest),
            Parameter("UNROLL", (1, 2, 4, 8), default=4 if columns % (4 * widest) == 0 else 1),
            Parameter("ACCUMULATORS", (1, 2, 4, 8), default=4 if columns % (4 * widest) == 0 else 1),
            Parameter("PREFETCH", (0, 512, 2048), default=0),
            Parameter.boolean("SCRATCH"),
            Parameter("STREAM", (0, 1, 2), default=0),
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
                f"not SCRATCH or {_FLOAT_BYTES * columns} <= {l2_bytes // 2}",
                "the buffer of a row takes at most half of the L2 cache",
            ),
            Constraint.parse(
                "SCRATCH or STREAM < 2",
                "a row that is written past the caches is read again from the buffer",
            ),
        ],
    )


KERNEL = CppKernel(
    OPERATOR,
    Path(__file__).with_name("add_rmsnorm.cpp"),
    _space,
    # Partial sums are the parameter ACCUMULATORS; the compiler must not choose them anew.
    lambda _: ("-fno-associative-math",),
)
"""`cpp:add_rmsnorm`."""
