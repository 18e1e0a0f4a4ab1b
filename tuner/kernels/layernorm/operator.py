"""What it computes: out = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias over the columns of each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.base import Field, Operator, Output, Tolerance
from tuner.kernels.distribution import GENERIC, scaled
from tuner.types import Work, Workload

__all__ = ["EPSILON", "OPERATOR"]

EPSILON = 1e-5
_BYTES = 4


def _inputs(workload: Workload, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    rows, columns = workload.integer("M"), workload.integer("N")
    x = rng.standard_normal((rows, columns), dtype=np.float32)
    # Means as far from zero as the numbers from their mean, so that a mean left out is seen.
    x += rng.standard_normal((rows, 1), dtype=np.float32)
    return {
        "x": x,
        "weight": rng.uniform(0.5, 1.5, columns).astype(np.float32),
        "bias": rng.standard_normal(columns, dtype=np.float32),
    }


def _outputs(workload: Workload) -> dict[str, Output]:
    return {"out": Output((workload.integer("M"), workload.integer("N")))}


def _reference(_: Workload, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    centred = inputs["x"].astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.mean(centred**2, axis=1, keepdims=True) + EPSILON)
    return {"out": centred / deviation * inputs["weight"] + inputs["bias"]}


def _work(workload: Workload) -> Work:
    rows, columns = workload.integer("M"), workload.integer("N")
    # A number is summed, centred, squared, summed, scaled, weighted and shifted.
    return Work(flops=7 * rows * columns, bytes=_BYTES * (2 * rows * columns + 2 * columns))


def _far(inputs: Mapping[str, npt.NDArray[Any]], _: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Means a hundred times what the numbers differ by: squares minus the square of the mean cancel."""
    return {**inputs, "x": inputs["x"] + np.float32(100)}


def _level(inputs: Mapping[str, npt.NDArray[Any]], _: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Variances below epsilon."""
    return {**inputs, "x": scaled(inputs["x"], 1e-3)}


OPERATOR = Operator(
    name="layernorm",
    fields=(Field("M"), Field("N", multiple_of=64)),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # Before the bias, outputs are below about 8 and exact to 2e-6 of themselves. The bias may cancel them almost
    # wholly, and leaves that error: it is the absolute part.
    tolerance=lambda _: Tolerance(relative=1e-5, absolute=1e-5),
    distributions={**GENERIC, "far": _far, "level": _level},
    workloads={
        # Hidden sizes from the models' published configurations; M is the number of tokens in the step, or images times
        # the 197 patches of one.
        "gpt2-decode": Workload(M=16, N=768),
        "gpt2-prefill": Workload(M=1024, N=768),
        "gpt2-xl-decode": Workload(M=16, N=1600),
        "gpt2-xl-prefill": Workload(M=1024, N=1600),
        "vit-large-batch8": Workload(M=8 * 197, N=1024),
    },
)
"""LayerNorm of `M` rows of `N` float32 (Ba, Kiros and Hinton, Layer Normalization, 2016)."""
