"""The C++ kernel's search space: vector width, accumulators, whether the sum is kept in registers' reach, prefetch."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.add_rmsnorm.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Device, Workload

__all__ = ["KERNEL"]


def _space(workload: Workload, device: Device) -> SearchSpace:
    columns = workload.integer("N")
    registers = device.feature("vector_registers")
    lanes_of_register = device.feature("vector_bytes") // 4
    return SearchSpace(
        [
            Parameter("LANES", (4, 8, 16), default=lanes_of_register, ordered=True),
            Parameter("UNROLL", (1, 2, 4, 8), default=1, ordered=True),
            Parameter("ACCUMULATORS", (1, 2, 4, 8), default=1, ordered=True),
            Parameter("PREFETCH", (0, 512, 2048), default=0, ordered=True),
        ],
        [
            Constraint(
                lambda LANES, UNROLL: columns % (LANES * UNROLL) == 0,
                "a row is a whole number of unrolled vectors",
            ),
            Constraint(
                lambda UNROLL, ACCUMULATORS: UNROLL % ACCUMULATORS == 0,
                "each accumulator takes the same share of the unrolled vectors",
            ),
            Constraint(
                lambda LANES, UNROLL, ACCUMULATORS: (
                    (UNROLL + ACCUMULATORS) * max(1, LANES // lanes_of_register) <= registers
                ),
                "unrolled vectors and accumulators fit in the vector registers",
            ),
        ],
    )


KERNEL = CppKernel(OPERATOR, Path(__file__).with_name("add_rmsnorm.cpp"), _space)
"""`cpp:add_rmsnorm`."""
