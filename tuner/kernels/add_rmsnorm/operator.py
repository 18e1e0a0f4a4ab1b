"""What it computes: residual_out = x + residual; out = residual_out / rms(residual_out) * weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.base import Field, Operator, Output
from tuner.kernels.distribution import GENERIC, scaled
from tuner.types import Work, Workload

__all__ = ["EPSILON", "OPERATOR"]

EPSILON = 1e-5
_BYTES = 4


def _inputs(workload: Workload, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    shape = (workload.integer("M"), workload.integer("N"))
    return {
        "x": rng.standard_normal(shape, dtype=np.float32),
        "residual": rng.standard_normal(shape, dtype=np.float32),
        "weight": rng.uniform(0.5, 1.5, shape[1]).astype(np.float32),
    }


def _outputs(workload: Workload) -> dict[str, Output]:
    shape = (workload.integer("M"), workload.integer("N"))
    return {"out": Output(shape), "residual_out": Output(shape)}


def _reference(_: Workload, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    total = inputs["x"].astype(np.float64) + inputs["residual"]
    rms = np.sqrt(np.mean(total**2, axis=1, keepdims=True) + EPSILON)
    return {"out": total / rms * inputs["weight"], "residual_out": total}


def _work(workload: Workload) -> Work:
    rows, columns = workload.integer("M"), workload.integer("N")
    return Work(flops=5 * rows * columns, bytes=_BYTES * (4 * rows * columns + columns))


def _far(inputs: Mapping[str, npt.NDArray[Any]], _: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Numbers that are far from zero and close to each other."""
    return {**inputs, "residual": inputs["residual"] + np.float32(100)}


def _level(inputs: Mapping[str, npt.NDArray[Any]], _: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Squares below epsilon."""
    return {**inputs, "x": scaled(inputs["x"], 1e-3), "residual": scaled(inputs["residual"], 1e-3)}


OPERATOR = Operator(
    name="add_rmsnorm",
    fields=(Field("M"), Field("N", multiple_of=64)),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    distributions={**GENERIC, "far": _far, "level": _level},
    workloads={
        # Hidden sizes from the models' published configurations; M is the number of tokens in the step.
        "llama3-8b-decode": Workload(M=16, N=4096),
        "llama3-8b-prefill": Workload(M=512, N=4096),
        "qwen3-4b-decode": Workload(M=16, N=2560),
        "qwen3-4b-prefill": Workload(M=512, N=2560),
    },
)
"""Residual add, then RMSNorm, of `M` rows of `N` float32 (Zhang and Sennrich, Root Mean Square Layer Normalization,
2019)."""
