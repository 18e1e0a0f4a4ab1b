"""Autotuning of kernels and inference engines, with proof, promotion and lookup.

The public names are loaded when they are first used: `import tuner` alone loads nothing but the standard library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.campaign import Campaign, task_of
    from tuner.decorator import autotune
    from tuner.errors import TunerError
    from tuner.kernels import CppKernel, Field, Operator, Output, Tolerance
    from tuner.kernels.gpu import Launch, Program, Tensor, TensorOperator
    from tuner.kernels.toolchains.cuda import CudaKernel
    from tuner.kernels.toolchains.triton import TritonKernel
    from tuner.lookup import Lookup
    from tuner.objective import Limit, Objective
    from tuner.plan import Budget, Plan
    from tuner.result import Result
    from tuner.search_spaces import Constraint, Parameter, SearchSpace
    from tuner.tuning import tune
    from tuner.types import Config, Device, Status, Task, Trial, Winner, Work, Workload

_HOMES = {
    "Budget": "tuner.plan",
    "Campaign": "tuner.campaign",
    "Config": "tuner.types",
    "Constraint": "tuner.search_spaces",
    "CppKernel": "tuner.kernels",
    "CudaKernel": "tuner.kernels.toolchains.cuda",
    "Device": "tuner.types",
    "Field": "tuner.kernels",
    "Launch": "tuner.kernels.gpu",
    "Limit": "tuner.objective",
    "Lookup": "tuner.lookup",
    "Objective": "tuner.objective",
    "Operator": "tuner.kernels",
    "Output": "tuner.kernels",
    "Parameter": "tuner.search_spaces",
    "Plan": "tuner.plan",
    "Program": "tuner.kernels.gpu",
    "Result": "tuner.result",
    "SearchSpace": "tuner.search_spaces",
    "Status": "tuner.types",
    "Task": "tuner.types",
    "Tensor": "tuner.kernels.gpu",
    "TensorOperator": "tuner.kernels.gpu",
    "Tolerance": "tuner.kernels",
    "Trial": "tuner.types",
    "TritonKernel": "tuner.kernels.toolchains.triton",
    "TunerError": "tuner.errors",
    "Winner": "tuner.types",
    "Work": "tuner.types",
    "Workload": "tuner.types",
    "autotune": "tuner.decorator",
    "task_of": "tuner.campaign",
    "tune": "tuner.tuning",
}

__all__ = [
    "Budget",
    "Campaign",
    "Config",
    "Constraint",
    "CppKernel",
    "CudaKernel",
    "Device",
    "Field",
    "Launch",
    "Limit",
    "Lookup",
    "Objective",
    "Operator",
    "Output",
    "Parameter",
    "Plan",
    "Program",
    "Result",
    "SearchSpace",
    "Status",
    "Task",
    "Tensor",
    "TensorOperator",
    "Tolerance",
    "Trial",
    "TritonKernel",
    "TunerError",
    "Winner",
    "Work",
    "Workload",
    "autotune",
    "task_of",
    "tune",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tuner' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
