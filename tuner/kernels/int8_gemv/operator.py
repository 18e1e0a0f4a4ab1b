"""What it computes: out = x @ (weight * scale)^T, with int8 weights and a scale for each of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.base import Field, Operator, Output, Tolerance
from tuner.kernels.bfloat16 import from_bfloat16, to_bfloat16
from tuner.kernels.distribution import GENERIC
from tuner.kernels.few_rows import too_many_rows
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]

_BYTES = {"bf16": 2, "fp32": 4}
_STORAGE = {"bf16": "uint16", "fp32": "float32"}
# Root of the mean square of a uniformly random int8.
_WEIGHT_RMS = 73.9
# Rows of weights that the reference converts to float64 at a time, so that they stay in the cache for the product.
_REFERENCE_ROWS = 64


def _inputs(workload: Workload, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    rows, outputs, columns = (workload.integer(name) for name in "MNK")
    x = rng.standard_normal((rows, columns), dtype=np.float32)
    # All 256 values, -128 too: a kernel must not rely on a symmetric range. Drawn eight at a time, for speed.
    words = rng.integers(0, 1 << 64, size=(outputs, columns // 8), dtype=np.uint64)
    # Outputs are around 1 then, whatever K is.
    scale = (rng.uniform(0.5, 1.5, outputs) / (_WEIGHT_RMS * columns**0.5)).astype(np.float32)
    if workload.text("dtype") == "bf16":
        return {"x": to_bfloat16(x), "weight": words.view(np.int8), "scale": to_bfloat16(scale)}
    return {"x": x, "weight": words.view(np.int8), "scale": scale}


def _outputs(workload: Workload) -> dict[str, Output]:
    shape = (workload.integer("M"), workload.integer("N"))
    return {"out": Output(shape, _STORAGE[workload.text("dtype")])}


def _reference(workload: Workload, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    x, weight, scale = inputs["x"], inputs["weight"], inputs["scale"]
    if workload.text("dtype") == "bf16":
        x, scale = from_bfloat16(x), from_bfloat16(scale)
    x = x.astype(np.float64)
    out = np.empty((x.shape[0], weight.shape[0]))
    for start in range(0, weight.shape[0], _REFERENCE_ROWS):
        rows = slice(start, start + _REFERENCE_ROWS)
        out[:, rows] = x @ weight[rows].astype(np.float64).T
    return {"out": out * scale}


def _work(workload: Workload) -> Work:
    rows, outputs, columns = (workload.integer(name) for name in "MNK")
    numbers = rows * columns + outputs + rows * outputs
    return Work(flops=2 * rows * outputs * columns, bytes=outputs * columns + _BYTES[workload.text("dtype")] * numbers)


def _tolerance(workload: Workload) -> Tolerance:
    if workload.text("dtype") == "bf16":
        # The inputs are bfloat16 exactly, so only the output is rounded, by at most 2^-9; twice that, since a sum that
        # falls on the other side of a midpoint is rounded away. Quantised activations miss this by far.
        return Tolerance(relative=2**-8, absolute=1e-4)
    # Outputs are around 1, the terms' magnitudes sum up to about sqrt(K) < 256, and float32 rounds by 2^-24: the sum of
    # K terms is within some 1e-5, wherever the partial sums are cut.
    return Tolerance(relative=1e-4, absolute=3e-5)


def _extreme(inputs: Mapping[str, npt.NDArray[Any]], _: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Weights of -128 and 127 only: products of 16 bits overflow, and a symmetric range does not hold them."""
    return {**inputs, "weight": (inputs["weight"] >> 7) ^ np.int8(127)}


OPERATOR = Operator(
    name="int8_gemv",
    fields=(
        Field("M"),
        Field("N"),
        Field("K", multiple_of=64),
        Field("dtype", default="bf16", choices=("bf16", "fp32")),
    ),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    tolerance=_tolerance,
    distributions={**GENERIC, "extreme": _extreme},
    workloads={
        # Layers from the models' published configurations; M is the number of sequences that decode together.
        "llama3-8b-decode": Workload(M=1, N=4096, K=4096, dtype="bf16"),
        "llama3-8b-decode-batch4": Workload(M=4, N=4096, K=4096, dtype="bf16"),
        "llama3-8b-decode-batch16": Workload(M=16, N=4096, K=4096, dtype="bf16"),
        "llama3-8b-ffn-decode": Workload(M=1, N=14336, K=4096, dtype="bf16"),
        "qwen3-4b-ffn-decode": Workload(M=1, N=9728, K=2560, dtype="bf16"),
        "qwen3-4b-ffn-decode-batch4": Workload(M=4, N=9728, K=2560, dtype="bf16"),
        "qwen3-8b-ffn-decode-batch4": Workload(M=4, N=12288, K=4096, dtype="bf16"),
    },
    valid=too_many_rows,
)
"""Product of `M` rows of `K` activations with `N` rows of int8 weights: the arithmetic of LLM.int8() (Dettmers et al.,
2022), without its quantisation of activations."""
