"""What it computes: out = silu(gate) * up, with silu(x) = x / (1 + exp(-x))."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.base import Field, Operator, Output, Tolerance
from tuner.kernels.distribution import GENERIC, NotNumber, Unspecified, scaled
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]

_BYTES = 4
# Gates with a standard deviation of 3: both the straight parts of silu and the bend between them are met.
_GATE_SCALE = 3.0


def _inputs(workload: Workload, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    shape = (workload.integer("M"), workload.integer("N"))
    gate = rng.standard_normal(shape, dtype=np.float32)
    gate *= _GATE_SCALE
    return {"gate": gate, "up": rng.standard_normal(shape, dtype=np.float32)}


def _outputs(workload: Workload) -> dict[str, Output]:
    return {"out": Output((workload.integer("M"), workload.integer("N")))}


def _reference(_: Workload, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    gate = inputs["gate"].astype(np.float64)
    # exp(-gate) / (1 + exp(-gate)) would overflow for a very negative gate; of -|gate| it cannot.
    power = np.exp(-np.abs(gate))
    return {"out": gate * np.where(gate > 0, 1.0, power) / (1 + power) * inputs["up"]}


def _work(workload: Workload) -> Work:
    numbers = workload.integer("M") * workload.integer("N")
    # Exponential, sum, division and two products; the exponential counts as one.
    return Work(flops=5 * numbers, bytes=_BYTES * 3 * numbers)


def _extreme(inputs: Mapping[str, npt.NDArray[Any]], _: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Gates up to some hundreds: exponentials of those overflow float32, or vanish."""
    return {**inputs, "gate": scaled(inputs["gate"], 50)}


OPERATOR = Operator(
    name="swiglu",
    fields=(Field("M"), Field("N", multiple_of=64)),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # Exponents are below about 25 and exact to some 2e-6, and a product of a few float32 is no worse. Gates below -87,
    # whose exponential float32 holds no more, give less than the absolute part.
    tolerance=lambda _: Tolerance(relative=1e-5, absolute=1e-30),
    distributions={**GENERIC, "extreme": _extreme},
    unspecified=(Unspecified("gate", "numbers that share a division share its NaN", kinds=(NotNumber.NAN,)),),
    workloads={
        # Sizes of the feed-forward block from the models' published configurations; M is the number of tokens in the
        # step.
        "llama3-8b-decode": Workload(M=16, N=14336),
        "llama3-8b-prefill": Workload(M=256, N=14336),
        "qwen3-4b-decode": Workload(M=16, N=9728),
        "qwen3-4b-prefill": Workload(M=256, N=9728),
    },
)
"""silu(gate) * up of `M` rows of `N` float32 (Shazeer, GLU Variants Improve Transformer, 2020)."""
