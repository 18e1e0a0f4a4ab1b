"""What it computes: out[n][m] = x[m][n]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.base import Field, Operator, Output, Tolerance
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]

_BYTES = 4


def _inputs(workload: Workload, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    return {"x": rng.random((workload.integer("M"), workload.integer("N")), dtype=np.float32)}


def _outputs(workload: Workload) -> dict[str, Output]:
    return {"out": Output((workload.integer("N"), workload.integer("M")))}


def _reference(_: Workload, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {"out": inputs["x"].T.astype(np.float64, order="C")}


def _work(workload: Workload) -> Work:
    numbers = workload.integer("M") * workload.integer("N")
    # Nothing is computed; a number that moves counts as one operation.
    return Work(flops=numbers, bytes=_BYTES * 2 * numbers)


OPERATOR = Operator(
    name="transpose",
    fields=(Field("M", multiple_of=16), Field("N", multiple_of=16)),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # Numbers are moved, not changed.
    tolerance=lambda _: Tolerance(relative=0.0, absolute=0.0),
    workloads={
        # A power of two in both directions is the hardest case: all rows of a column share few sets of a cache.
        "square-2048": Workload(M=2048, N=2048),
        # Weights as stored, from the models' published configurations: GPT-2 keeps its projections transposed.
        "gpt2-qkv-projection": Workload(M=768, N=2304),
        "llama3-8b-k-projection": Workload(M=1024, N=4096),
        "qwen3-4b-k-projection": Workload(M=1024, N=2560),
        # Activations of a prefill of 512 tokens.
        "qwen3-4b-prefill": Workload(M=512, N=2560),
    },
)
"""Transpose of a float32 matrix of `M` rows and `N` columns."""
