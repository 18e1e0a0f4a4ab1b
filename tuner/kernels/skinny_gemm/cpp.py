"""The C++ kernel's search space: that of products with few rows, and tiles where weights are bfloat16."""

from __future__ import annotations

from pathlib import Path

from tuner.kernels.few_rows import few_rows_space
from tuner.kernels.skinny_gemm.operator import OPERATOR
from tuner.kernels.toolchains.cpp import CppKernel
from tuner.types import Device, Workload

__all__ = ["KERNEL"]

_BYTES = {"bf16": 2, "fp32": 4}


def _units(workload: Workload, device: Device) -> list[str]:
    tile = workload.text("dtype") == "bf16" and bool(device.features.get("amx", False))
    return ["fma", "tile"] if tile else ["fma"]


KERNEL = CppKernel(
    OPERATOR,
    Path(__file__).with_name("skinny_gemm.cpp"),
    few_rows_space(weight_bytes=lambda workload: _BYTES[workload.text("dtype")], units=_units),
    # Sums are already laid out for the vector unit; reassociating them only costs registers.
    lambda _: ("-fno-associative-math",),
)
"""`cpp:skinny_gemm`."""
