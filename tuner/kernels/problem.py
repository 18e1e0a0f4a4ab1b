"""What is computed, as far as every device and toolchain agrees: the fields of a workload, its work, its tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tuner.errors import WorkloadError
from tuner.kernels.check import Tolerance
from tuner.kernels.edge import edge_shapes
from tuner.kernels.option import OPTIONS, checked_options, without_options
from tuner.types import Scalar, Work, Workload

__all__ = ["Field", "Problem"]

# An edge shape beyond this would take a CPU longer than some milliseconds to check.
_EDGE_WORK = Work(flops=1 << 27, bytes=1 << 25)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an operator's workload.

    Attributes:
        name: Its name, as on the command line.
        default: Its value where the workload does not give one; None makes the field required.
        choices: The values it may take; empty for a positive integer.
        multiple_of: What an integer must be divisible by.
    """

    name: str
    default: int | str | None = None
    choices: tuple[str, ...] = ()
    multiple_of: int = 1

    def check(self, value: Scalar) -> Scalar:
        """Return `value` if it fits this field.

        Raises:
            WorkloadError: it does not; the message says what would.
        """
        if self.choices:
            if value not in self.choices:
                raise WorkloadError(f"{self.name}={value!r} is not taken; choose one of {', '.join(self.choices)}")
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise WorkloadError(f"{self.name}={value!r} is not a positive integer")
        elif value % self.multiple_of:
            raise WorkloadError(f"{self.name}={value} is not a multiple of {self.multiple_of}")
        return value


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a kernel is asked, without its inputs and its reference: those are arrays, or tensors.

    Attributes:
        name: The field's name for it, such as `softmax`.
        fields: The workload's fields.
        work: From a workload to the flops and bytes of one call.
        tolerance: From a workload to how far an output may be from the reference.
        workloads: Named workloads, from real models.
        valid: From a workload to why its fields do not fit together, or None.
        edges: From a workload to edge shapes of it, the fields of other workloads; those that are not valid, or take
            long, are left out. By default every size is moved in turn.
        edge_work: What an edge shape may take to be checked.
    """

    name: str
    fields: Sequence[Field]
    work: Callable[[Workload], Work]
    tolerance: Callable[[Workload], Tolerance] = lambda _: Tolerance()
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    valid: Callable[[Workload], str | None] = lambda _: None
    edges: Callable[[Workload], Iterable[Mapping[str, Scalar]]] | None = None
    edge_work: Work = _EDGE_WORK

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the checked workload, defaults filled in; the options of `tuner.kernels.option` only where given.

        Raises:
            WorkloadError: a field is missing, unknown, or has a value that is not taken.
        """
        names = [field.name for field in self.fields]
        if unknown := [name for name in fields if name not in (*names, *OPTIONS)]:
            raise WorkloadError(
                f"{self.name} has no workload field {unknown[0]!r}; it has: {', '.join(names)}, "
                f"and takes {' and '.join(OPTIONS)}"
            )
        values: dict[str, Scalar] = {}
        for spec in self.fields:
            value = fields.get(spec.name, spec.default)
            if value is None:
                raise WorkloadError(f"{self.name} needs the workload field {spec.name!r}; give {spec.name}=VALUE")
            values[spec.name] = spec.check(value)
        workload = Workload({**values, **checked_options(fields)})
        if reason := self.valid(workload):
            raise WorkloadError(f"{self.name}: {reason}")
        return workload

    def allowed(self, workload: Workload) -> Tolerance:
        """Return how far an output may be from the reference: what the workload grants, or else the operator."""
        error = workload.get("rel_error")
        return Tolerance(rel_error=error) if isinstance(error, float) else self.tolerance(workload)

    def edge_workloads(self, workload: Workload) -> list[Workload]:
        """Return valid workloads beside `workload` that a kernel may get wrong, each checked in milliseconds."""
        units = {field.name: field.multiple_of for field in self.fields if not field.choices}
        plain = without_options(workload)
        found = []
        for shape in self.edges(plain) if self.edges else edge_shapes(plain, units):
            try:
                edge = self.workload({**workload, **shape})
            except WorkloadError:
                continue
            work = self.work(edge)
            if work.flops <= self.edge_work.flops and work.bytes <= self.edge_work.bytes:
                found.append(edge)
        return found
