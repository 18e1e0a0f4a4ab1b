"""LayerNorm with one more parameter, which means nothing."""

from __future__ import annotations

from tuner import CppKernel, Device, Parameter, SearchSpace, Workload
from tuner.kernels.layernorm.cpp import KERNEL as LAYERNORM

__all__ = ["KERNEL"]


def _space(workload: Workload, device: Device) -> SearchSpace:
    space = LAYERNORM.search_space(workload, device)
    return SearchSpace([*space.parameters, Parameter("SAME", (0, 1), default=0)], space.constraints)


KERNEL = CppKernel(LAYERNORM.operator, LAYERNORM.source, _space, LAYERNORM.flags)
