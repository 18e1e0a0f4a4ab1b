"""The C++ kernel's search space: vectors in a step, divisions they share, streams of memory, and how those are read."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.swiglu.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel, thread_parameters
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

_FLOAT_BYTES = 4


def _space(workload: Workload, device: Device) -> SearchSpace:
    numbers = workload.integer("M") * workload.integer("N")
    registers = device.feature("vector_registers")
    widest = device.feature("vector_bytes") // _FLOAT_BYTES
    # Half of a 64-byte register may win, since the full width can lower the clock; half of a shorter one never does.
    lanes = (8, 16) if widest == 16 else (widest,)
    return SearchSpace(
        [
            Parameter("LANES", lanes, default=widest),
            Parameter("UNROLL", (1, 2, 4, 8), default=4 if numbers % (4 * widest) == 0 else 1),
            Parameter("SHARE", (1, 2, 4, 8), default=1),
            Parameter("SEGMENTS", (1, 2, 4), default=1),
            Parameter("PREFETCH", (0, 256, 512, 1024, 2048), default=0),
            Parameter.boolean("STREAM"),
            *thread_parameters(device),
        ],
        [
            Constraint.parse(
                f"{numbers} % (SEGMENTS * LANES * UNROLL) == 0",
                "a segment is a whole number of unrolled vectors",
            ),
            Constraint.parse(
                "UNROLL % SHARE == 0",
                "each division takes the same share of the unrolled vectors",
            ),
            Constraint.parse(
                f"2 * SHARE <= {registers}",
                "numerators and denominators of one division fit in the vector registers",
            ),
        ],
    )


KERNEL = CppKernel(
    OPERATOR,
    Path(__file__).with_name("swiglu.cpp"),
    _space,
    # Shared divisions are the parameter SHARE; the compiler must not choose them anew.
    lambda _: ("-fno-associative-math",),
)
"""`cpp:swiglu`."""
