"""Operators of tensors: what a GPU kernel computes, told with torch, on whichever device the tensors are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuner.errors import WorkloadError
from tuner.kernels.gpu.tensor import Tensor
from tuner.kernels.problem import Problem
from tuner.types import Cache, Scalar, Work, Workload

__all__ = ["Distribution", "TensorOperator", "Tensors"]

# A GPU checks as much in some milliseconds.
_EDGE_WORK = Work(flops=1 << 33, bytes=1 << 28)

Tensors = Mapping[str, Any]
"""torch tensors by name. torch is loaded only where there is something to measure, and so is no type here."""

Distribution = Callable[[Tensors, Any], Tensors]
"""From random inputs and a torch generator to other inputs of the same shapes and dtypes; what it is given stays."""


@dataclass(frozen=True, kw_only=True)
class TensorOperator(Problem):
    """What a GPU kernel computes: the fields of its workload, its tensors, its true result.

    Attributes:
        inputs: From a workload to the input tensors, by name.
        outputs: From a workload to the output tensors, by name.
        reference: From a workload and the inputs to the true outputs, in float64, on the device of the inputs.
        distributions: By name, what makes other inputs of the random ones, beside those for every operator.
        unspecified: Inputs in which a NaN may do anything: those of which a kernel need not read all.

    Example:
        >>> from tuner.kernels.problem import Field
        >>> double = TensorOperator(
        ...     name="double",
        ...     fields=[Field("N")],
        ...     inputs=lambda w: {"x": Tensor((w.integer("N"),), "bf16")},
        ...     outputs=lambda w: {"out": Tensor((w.integer("N"),), "bf16")},
        ...     reference=lambda w, tensors: {"out": 2 * tensors["x"].double()},
        ...     work=lambda w: Work(flops=w.integer("N"), bytes=4 * w.integer("N")),
        ... )
        >>> [tensor.bytes for tensor in double.tensors(double.workload({"N": 8})).values()]
        [16, 16]
    """

    inputs: Callable[[Workload], Mapping[str, Tensor]]
    outputs: Callable[[Workload], Mapping[str, Tensor]]
    reference: Callable[[Workload, Tensors], Tensors]
    distributions: Mapping[str, Distribution] = field(default_factory=dict)
    unspecified: Sequence[str] = ()
    edge_work: Work = _EDGE_WORK

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the checked workload; `cache` is `warm`, `cold`, or absent for tensors that rotate.

        Raises:
            WorkloadError: a field is missing, unknown, or has a value that is not taken.
        """
        workload = super().workload(fields)
        return Workload({**workload, "cache": "warm"}) if fields.get("cache") == Cache.WARM else workload

    def tensors(self, workload: Workload) -> dict[str, Tensor]:
        """Return inputs and outputs, by name.

        Raises:
            WorkloadError: an input and an output have one name.
        """
        inputs, outputs = self.inputs(workload), self.outputs(workload)
        if both := set(inputs) & set(outputs):
            raise WorkloadError(f"{self.name} calls both an input and an output {both.pop()!r}")
        return {**inputs, **outputs}
