"""The product alone, in 16 bits: what a kernel without epilogues and scales computes."""

from __future__ import annotations

from dataclasses import replace

from tuner.kernels.matmul.operator import OPERATOR as FULL
from tuner.kernels.problem import Field

__all__ = ["OPERATOR"]

_DTYPES = ("bf16", "fp16")


def _plain_fields() -> tuple[Field, ...]:
    choices = {"dtype": _DTYPES, "epilogue": ("none",)}
    return tuple(replace(field, choices=choices.get(field.name, field.choices)) for field in FULL.fields)


OPERATOR = replace(
    FULL,
    fields=_plain_fields(),
    workloads={
        name: workload
        for name, workload in FULL.workloads.items()
        if workload["dtype"] in _DTYPES and workload["epilogue"] == "none"
    },
)
"""Product of `M` rows of `K` activations with `N` rows of weights."""
