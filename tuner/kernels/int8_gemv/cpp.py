"""The C++ kernel's search space: that of products with few rows, and what integers add to it."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.few_rows import few_rows_space
from tuner.kernels.int8_gemv.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel
from tuner.search_spaces import Constraint, Parameter
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

# So many products of bytes, one of them unsigned, fit in 32 bits.
_MOST_COLUMNS = 1 << 16


def _units(workload: Workload, device: Device) -> list[str]:
    if workload.integer("K") > _MOST_COLUMNS:
        return ["fma"]
    # Exact products take three times the integer work of approximate ones: they are worth it in hardware only.
    dot = bool(device.features.get("int8_dot", False)) or _approximate(workload)
    return ["fma", *(["dot"] if dot else []), *(["tile"] if device.features.get("amx", False) else [])]


def _approximate(workload: Workload) -> bool:
    """Return whether the workload says how wrong an output may be."""
    return "rel_error" in workload


def _parameters(workload: Workload) -> list[Parameter]:
    if not _approximate(workload):
        return []
    return [Parameter.categorical("ACTIVATIONS", ("exact", "int8"), when=Constraint.parse("UNIT != 'fma'"))]


KERNEL = CppKernel(
    OPERATOR,
    Path(__file__).with_name("int8_gemv.cpp"),
    few_rows_space(
        weight_bytes=lambda _: 1,
        units=_units,
        digits=lambda workload: "(1 if ACTIVATIONS == 'int8' else 3)" if _approximate(workload) else "3",
        parameters=_parameters,
    ),
    # Sums are already laid out for the vector unit; reassociating them only costs registers.
    lambda _: ("-fno-associative-math",),
)
"""`cpp:int8_gemv`."""
