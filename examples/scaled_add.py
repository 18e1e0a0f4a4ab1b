"""Your own C++ kernel; tune it with `tuner tune examples/scaled_add.py:KERNEL -w N=65536`."""

from pathlib import Path

import numpy as np

from tuner import CppKernel, Field, Operator, Output, Parameter, SearchSpace, Work

OPERATOR = Operator(
    name="scaled_add",
    fields=[Field("N", multiple_of=128)],
    inputs=lambda w, rng: {name: rng.standard_normal(w.integer("N"), dtype=np.float32) for name in ("x", "y")},
    outputs=lambda w: {"out": Output((w.integer("N"),))},
    reference=lambda w, inputs: {"out": 2.0 * inputs["x"].astype(np.float64) + inputs["y"]},
    work=lambda w: Work(flops=2 * w.integer("N"), bytes=12 * w.integer("N")),
)
SPACE = SearchSpace([Parameter.powers_of_two("LANES", 4, 16), Parameter.powers_of_two("UNROLL", 1, 8)])

KERNEL = CppKernel(OPERATOR, Path(__file__).with_name("scaled_add.cpp"), SPACE)
