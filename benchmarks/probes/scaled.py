"""A kernel in which a config does exactly so many steps, and all configs compute nearly the same.

It contracts towards 1/2 by a thousandth in each step, so that a hundred steps, or 97, are within the tolerance of each
other: what differs is the time alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner import CppKernel, Field, Operator, Output, Parameter, SearchSpace, Tolerance, Work, Workload

__all__ = ["KERNEL", "STEPS"]

STEPS = 1000
"""Steps of the default; 970 are a true gain of 3 %."""


def _inputs(workload: Workload, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    return {"x": rng.random(workload.integer("N"), dtype=np.float32)}


def _reference(_: Workload, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    share = 0.999**STEPS
    return {"y": inputs["x"].astype(np.float64) * share + 0.5 * (1 - share)}


KERNEL = CppKernel(
    Operator(
        name="scaled",
        fields=[Field("N", multiple_of=8)],
        inputs=_inputs,
        outputs=lambda workload: {"y": Output((workload.integer("N"),))},
        reference=_reference,
        work=lambda workload: Work(flops=2 * STEPS * workload.integer("N"), bytes=8 * workload.integer("N")),
        tolerance=lambda _: Tolerance(relative=0.1, absolute=0.1),
    ),
    Path(__file__).with_name("scaled.cpp"),
    SearchSpace([Parameter("REPEATS", (970, STEPS), default=STEPS), Parameter("SAME", (0, 1), default=0)]),
)
