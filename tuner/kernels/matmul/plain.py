"""The product alone, scaled where it is of 8 bits: what a kernel without epilogues computes."""

from __future__ import annotations

from dataclasses import replace

from tuner.kernels.matmul.operator import OPERATOR as FULL

__all__ = ["OPERATOR"]

_NONE = "none"

OPERATOR = replace(
    FULL,
    fields=tuple(replace(field, choices=(_NONE,)) if field.name == "epilogue" else field for field in FULL.fields),
    workloads={name: workload for name, workload in FULL.workloads.items() if workload["epilogue"] == _NONE},
)
"""Product of `M` rows of `K` activations with `N` rows of weights, with scales for each row where they are 8 bits."""
