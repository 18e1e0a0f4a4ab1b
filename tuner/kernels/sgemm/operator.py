"""What it computes: out = a @ b, or gelu(a @ b + bias) with the tanh form of GELU, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.kernels.base import Field, Operator, Output, Tolerance
from tuner.kernels.distribution import GENERIC, scaled
from tuner.types import Work, Workload

__all__ = ["OPERATOR"]

# Of the tanh form; Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.
_CUBE = 0.044715
# Flops of one output's bias and GELU, an exponential, a division and a tanh counting as one each.
_EPILOGUE_FLOPS = 10


def _inputs(workload: Workload, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    rows, columns, depth = (workload.integer(name) for name in "MNK")
    # Outputs are around 1, whatever K is.
    return {
        "a": rng.standard_normal((rows, depth), dtype=np.float32),
        "b": (rng.standard_normal((depth, columns), dtype=np.float32) / depth**0.5).astype(np.float32),
        "bias": rng.standard_normal(columns, dtype=np.float32),
    }


def _outputs(workload: Workload) -> dict[str, Output]:
    return {"out": Output((workload.integer("M"), workload.integer("N")))}


def _reference(workload: Workload, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    a, b, bias = (inputs[name].astype(np.float64) for name in ("a", "b", "bias"))
    out = a @ b
    if workload.text("epilogue") == "bias_gelu":
        out += bias
        out = 0.5 * out * (1 + np.tanh(np.sqrt(2 / np.pi) * (out + _CUBE * out * out * out)))
    return {"out": out}


def _work(workload: Workload) -> Work:
    rows, columns, depth = (workload.integer(name) for name in "MNK")
    fused = workload.text("epilogue") == "bias_gelu"
    return Work(
        flops=2 * rows * columns * depth + (_EPILOGUE_FLOPS * rows * columns if fused else 0),
        bytes=4 * (rows * depth + depth * columns + rows * columns + (columns if fused else 0)),
    )


def _saturated(inputs: Mapping[str, npt.NDArray[Any]], _: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Biases up to some hundreds, whose exponentials float32 cannot hold."""
    return {**inputs, "bias": scaled(inputs["bias"], 100)}


OPERATOR = Operator(
    name="sgemm",
    fields=(
        Field("M"),
        Field("N", multiple_of=16),
        Field("K"),
        Field("epilogue", default="none", choices=("none", "bias_gelu")),
    ),
    inputs=_inputs,
    outputs=_outputs,
    reference=_reference,
    work=_work,
    # Outputs are around 1, the terms' magnitudes sum up to about 0.64 sqrt(K) < 100, and float32 rounds by 2^-24: the
    # sum of K terms is within some 1e-5, wherever it is cut. GELU is at most 1.13 times as steep. Its erf form differs
    # by up to 5e-4 and would be seen.
    tolerance=lambda _: Tolerance(relative=1e-4, absolute=3e-5),
    distributions={**GENERIC, "saturated": _saturated},
    workloads={
        "square-512": Workload(M=512, N=512, K=512, epilogue="none"),
        "square-512-bias-gelu": Workload(M=512, N=512, K=512, epilogue="bias_gelu"),
        # Layers from the models' published configurations; M is the number of tokens.
        "gpt2-ffn-128-bias-gelu": Workload(M=128, N=3072, K=768, epilogue="bias_gelu"),
        "gpt2-ffn-down-128": Workload(M=128, N=768, K=3072, epilogue="none"),
        "bert-base-projection-128": Workload(M=128, N=768, K=768, epilogue="none"),
        "vit-base-projection": Workload(M=197, N=768, K=768, epilogue="none"),
    },
)
"""Product of `M` rows of `K` numbers with a matrix of `K` rows and `N` columns, the layout of GPT-2's weights. With the
epilogue `bias_gelu`, GELU follows in its tanh form, which is GPT-2's and torch's `approximate="tanh"`; with `none`, the
bias is not read."""
