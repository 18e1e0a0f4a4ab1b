"""What it computes: out = exp(x) / sum(exp(x)) over the columns of each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.base import Field, Operator, Output, Tolerance
from tuner.kernels.distribution import GENERIC
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]

_BYTES = 4
# Scores with a standard deviation of 3: a few of them dominate, as in trained models, and e^x needs the row's maximum.
_SCALE = 3.0


def _inputs(workload: Workload, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    x = rng.standard_normal((workload.integer("M"), workload.integer("N")), dtype=np.float32)
    x *= _SCALE
    return {"x": x}


def _outputs(workload: Workload) -> dict[str, Output]:
    return {"out": Output((workload.integer("M"), workload.integer("N")))}


def _reference(_: Workload, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    out = inputs["x"].astype(np.float64)
    out -= out.max(axis=1, keepdims=True)
    np.exp(out, out=out)
    out /= out.sum(axis=1, keepdims=True)
    return {"out": out}


def _work(workload: Workload) -> Work:
    numbers = workload.integer("M") * workload.integer("N")
    # A number is compared, subtracted from, raised, summed and scaled; the exponential counts as one.
    return Work(flops=5 * numbers, bytes=_BYTES * 2 * numbers)


def _rising(inputs: Mapping[str, npt.NDArray[Any]], _: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Rows that rise, far from zero: the running maximum moves at every block, and shrinks all that came before."""
    rise = np.linspace(-20, 20, inputs["x"].shape[1], dtype=np.float32)
    return {"x": inputs["x"] / _SCALE + rise - 1000}


def _dominated(inputs: Mapping[str, npt.NDArray[Any]], rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """One score of each row takes nearly all of the sum."""
    x = inputs["x"].copy()
    x[np.arange(len(x)), rng.integers(x.shape[1], size=len(x))] = 50
    return {"x": x}


OPERATOR = Operator(
    name="softmax",
    fields=(Field("M"), Field("N", multiple_of=64)),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # Exponents are below about 40 and exact to some 2e-6, so exponentials are exact to 2e-6 of themselves; rounding of
    # their sum, in a row of 150,000 numbers by one vector of partial sums, adds some 2e-5. Outputs span many powers of
    # ten: only those that float32 can hardly tell from zero may be off by more than the relative part.
    tolerance=lambda _: Tolerance(relative=1e-4, absolute=1e-30),
    distributions={**GENERIC, "rising": _rising, "dominated": _dominated},
    workloads={
        # Rows are heads times queries, columns keys; logits have a row for each sequence of the batch and a column for
        # each token of the vocabulary. Sizes from the models' published configurations.
        "llama3-8b-scores-decode-4k": Workload(M=32 * 4, N=4096),
        "llama3-8b-logits-batch8": Workload(M=8, N=128256),
        "qwen3-4b-scores-prefill-256": Workload(M=32 * 256, N=256),
        "qwen3-4b-logits-batch8": Workload(M=8, N=151936),
        "gpt2-scores-prefill-512": Workload(M=12 * 512, N=512),
    },
)
"""Softmax of `M` rows of `N` float32."""
