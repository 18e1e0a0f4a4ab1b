"""What it computes: out = x @ weight^T with few rows of x, in float32 or bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.base import Field, Operator, Output, Tolerance
from tuner.kernels.bfloat16 import from_bfloat16, to_bfloat16
from tuner.kernels.few_rows import too_many_rows
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]

_BYTES = {"bf16": 2, "fp32": 4}
_STORAGE = {"bf16": "uint16", "fp32": "float32"}
# Of random bits, those that stay and those that are set: a random sign, an exponent of -1 or 0 and a random mantissa,
# that is, a magnitude in [0.5, 2). Normal numbers are slow to draw by the million.
_WEIGHT_BITS = {"bf16": (0x80FF, 0x3F00), "fp32": (0x80FFFFFF, 0x3F000000)}
# Root of the mean square of such weights: half of them are uniform on [0.5, 1), half on [1, 2).
_WEIGHT_RMS = 1.208
# Rows of weights that the reference converts to float64 at a time: they stay in the cache for the product, and their
# memory is used again, where larger arrays are mapped anew each time.
_REFERENCE_ROWS = 8


def _inputs(workload: Workload, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    rows, outputs, columns = (workload.integer(name) for name in "MNK")
    dtype = workload.text("dtype")
    # Outputs are around 1, whatever K is.
    x = (rng.standard_normal((rows, columns)) / (_WEIGHT_RMS * columns**0.5)).astype(np.float32)
    words = rng.integers(0, 1 << 64, size=(outputs, columns * _BYTES[dtype] // 8), dtype=np.uint64)
    kept, added = _WEIGHT_BITS[dtype]
    if dtype == "bf16":
        halves = words.view(np.uint16)
        halves &= kept
        halves |= added
        return {"x": to_bfloat16(x), "weight": halves}
    bits = words.view(np.uint32)
    bits &= kept
    bits |= added
    return {"x": x, "weight": bits.view(np.float32)}


def _outputs(workload: Workload) -> dict[str, Output]:
    shape = (workload.integer("M"), workload.integer("N"))
    return {"out": Output(shape, _STORAGE[workload.text("dtype")])}


def _reference(workload: Workload, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    wide = from_bfloat16 if workload.text("dtype") == "bf16" else np.asarray
    x, weight = wide(inputs["x"]).astype(np.float64), inputs["weight"]
    out = np.empty((x.shape[0], weight.shape[0]))
    for start in range(0, weight.shape[0], _REFERENCE_ROWS):
        rows = slice(start, start + _REFERENCE_ROWS)
        out[:, rows] = x @ wide(weight[rows]).astype(np.float64).T
    return {"out": out}


def _work(workload: Workload) -> Work:
    rows, outputs, columns = (workload.integer(name) for name in "MNK")
    numbers = rows * columns + outputs * columns + rows * outputs
    return Work(flops=2 * rows * outputs * columns, bytes=_BYTES[workload.text("dtype")] * numbers)


def _tolerance(workload: Workload) -> Tolerance:
    if workload.text("dtype") == "bf16":
        # The inputs are bfloat16 exactly, so only the output is rounded, by at most 2^-9; twice that, since a sum that
        # falls on the other side of a midpoint is rounded away. Sums kept in bfloat16 miss this by far.
        return Tolerance(relative=2**-8, absolute=1e-4)
    # Outputs are around 1, the terms' magnitudes sum up to about sqrt(K) < 256, and float32 rounds by 2^-24: the sum of
    # K terms is within some 1e-5, wherever the partial sums are cut. Weights rounded to bfloat16 would be seen.
    return Tolerance(relative=1e-4, absolute=3e-5)


OPERATOR = Operator(
    name="skinny_gemm",
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
    workloads={
        # Layers from the models' published configurations; M is the number of sequences that decode together.
        "llama3-8b-decode-batch4": Workload(M=4, N=4096, K=4096, dtype="bf16"),
        "llama3-8b-decode-batch8": Workload(M=8, N=4096, K=4096, dtype="bf16"),
        "llama3-8b-decode-batch8-fp32": Workload(M=8, N=4096, K=4096, dtype="fp32"),
        "llama3-8b-decode-batch16": Workload(M=16, N=4096, K=4096, dtype="bf16"),
        "llama3-8b-ffn-decode-batch4": Workload(M=4, N=14336, K=4096, dtype="bf16"),
        "qwen3-4b-ffn-decode-batch4": Workload(M=4, N=9728, K=2560, dtype="bf16"),
        "qwen3-4b-ffn-decode-batch8-fp32": Workload(M=8, N=9728, K=2560, dtype="fp32"),
        "bert-base-ffn-batch8-fp32": Workload(M=8, N=3072, K=768, dtype="fp32"),
    },
    valid=too_many_rows,
)
"""Product of `M` rows of `K` activations with `N` rows of weights, both of `dtype`; sums are kept in float32."""
