"""What can be tuned: the `Tunable` protocol, and how a name or a reference becomes one."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from tuner.errors import MissingDependencyError, TunableError, TunerError
from tuner.reference import FILE_MODULE, import_reference
from tuner.search_spaces import SearchSpace
from tuner.types import Artifact, Build, Config, Device, Measurement, Sampling, Scalar, Task, Work, Workload

__all__ = [
    "ENGINE",
    "TOOLCHAINS",
    "Hinting",
    "Patient",
    "Placeable",
    "Prunable",
    "Tunable",
    "installed",
    "installed_engines",
    "is_named",
    "load",
    "make_task",
    "reference_of",
    "resolve",
]

TOOLCHAINS: Mapping[str, tuple[str, ...]] = {"cpu": ("cpp",), "cuda": ("triton", "cuda"), "hip": ("triton",)}
"""Toolchains that serve a kind of device, the default first."""

ENGINE = "engine"
"""What stands before the name of an inference engine, as a toolchain does before a kernel's: `engine:torch`."""

_GROUP = "tuner.kernels."
_ENGINES = "tuner.engines"


@runtime_checkable
class Tunable(Protocol):
    """A parameterised thing with a workload: a kernel, an engine.

    `build` runs in a builder process on a CPU, `measure` in a process that has the device to itself; both may crash or
    hang without harm to the campaign.
    """

    @property
    def name(self) -> str:
        """The operator or engine, such as `add_rmsnorm`."""

    @property
    def version(self) -> str:
        """Hash of everything that decides results: a changed kernel has no old winners."""

    @property
    def device_kinds(self) -> tuple[str, ...]:
        """The kinds of device that it runs on."""

    @property
    def workloads(self) -> Mapping[str, Workload]:
        """Named workloads."""

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the checked workload, defaults filled in.

        Raises:
            WorkloadError: a field is missing, unknown, or has a value that is not taken.
        """

    def environment(self) -> Mapping[str, str]:
        """Return the versions of the tools that enter a result, such as the compiler's.

        Raises:
            MissingDependencyError: a tool that building needs is not installed.
        """

    def search_space(self, workload: Workload, device: Device) -> SearchSpace:
        """Return the valid configs for `workload` on `device`."""

    def default(self, workload: Workload, device: Device) -> Config:
        """Return the baseline that every winner must beat: what a careful engineer would write."""

    def build_key(self, config: Config, workload: Workload, device: Device) -> str | None:
        """Return the hash of everything that enters the build, or None where nothing needs building."""

    def build(self, config: Config, workload: Workload, device: Device) -> Artifact | None:
        """Return the artifact of `config`.

        Raises:
            BuildError: it does not compile; the message is the compiler's first errors.
        """

    def measure(self, builds: Sequence[Build], workload: Workload, sampling: Sampling) -> list[Measurement]:
        """Check each build's result, then time the correct ones interleaved, one sample of each in every round.

        The first build is the reference: the others carry its times of the same rounds as `reference_seconds`.
        """

    def work(self, workload: Workload) -> Work:
        """Return the flops and bytes of one call."""

    def edges(self, workload: Workload) -> Sequence[Workload]:
        """Return small workloads beside `workload` that a config may get wrong, such as sizes that no tile divides."""


@runtime_checkable
class Prunable(Protocol):
    """A tunable that can tell from an artifact that it is not worth a device's time."""

    def refusal(self, artifact: Artifact, device: Device) -> str:
        """Return why `artifact` is not worth the time of `device`, or an empty string."""


@runtime_checkable
class Hinting(Protocol):
    """A tunable that knows what is worth a trial before anything is known."""

    def first_tries(self, workload: Workload, device: Device) -> Sequence[Config]:
        """Return what a search tries right after the default, the most promising first; some may not be valid."""


@runtime_checkable
class Patient(Protocol):
    """A tunable whose measurements may take longer than a kernel's: a server has to start first."""

    @property
    def longest_seconds(self) -> float:
        """When the measurement of one config is given up."""


@runtime_checkable
class Placeable(Protocol):
    """A tunable whose configs say how many devices they need at once: a server with tensor parallelism, for one."""

    @property
    def alive(self) -> int:
        """How many of its servers run at once, where there is room; one where they take turns."""

    def devices(self, config: Config, workload: Workload) -> int:
        """Return how many devices of one machine a server under `config` needs, at least one."""

    def memory_bytes(self, config: Config, workload: Workload) -> int:
        """Return how much memory it needs on each of them; 0 where that is not known."""


def installed_engines() -> list[str]:
    """Return the names of the installed inference engines, without importing any.

    A package adds one with an entry point in the group `tuner.engines`.
    """
    return sorted({point.name for point in entry_points(group=_ENGINES)})


def installed() -> dict[str, list[str]]:
    """Return every installed kernel with its toolchains: those of tuner and of other packages' entry points.

    A package adds one with an entry point in the group `tuner.kernels.<toolchain>`. Nothing is imported.
    """
    kernels: dict[str, list[str]] = {}
    for toolchain, point in _entry_points():
        toolchains = kernels.setdefault(point.name, [])
        if toolchain not in toolchains:
            toolchains.append(toolchain)
    return dict(sorted(kernels.items()))


def is_named(reference: str, name: str | None) -> bool:
    """Return whether people mean the tunable at `reference` by `name`: whole, without its toolchain, or any (None).

    Example:
        >>> is_named("cpp:softmax", "softmax"), is_named("cpp:softmax", "triton:softmax"), is_named("cpp:softmax", None)
        (True, False, True)
    """
    return name in (None, reference, reference.rpartition(":")[2])


def resolve(name: str, device_kind: str) -> str:
    """Return the full reference of `name` on a kind of device.

    A bare operator (`softmax`) becomes the device's default toolchain (`cpp:softmax`); a path is made absolute, so that
    worker processes find the same file; everything else stays.

    Raises:
        TunableError: no such kernel; the message lists those there are.
    """
    if ":" in name:
        head, _, attribute = name.rpartition(":")
        return f"{Path(head).resolve()}:{attribute}" if head.endswith(".py") else name
    kernels = installed()
    if name not in kernels:
        raise TunableError(
            f"unknown kernel {name!r}; known: {', '.join(kernels) or 'none'}; "
            "or give your own as path/to/file.py:attribute"
        )
    for toolchain in TOOLCHAINS.get(device_kind, ()):
        if toolchain in kernels[name]:
            return f"{toolchain}:{name}"
    raise TunableError(f"kernel {name!r} has no toolchain for {device_kind}; it has: {', '.join(kernels[name])}")


def load(reference: str) -> Tunable:
    """Return the tunable that `reference` names.

    Args:
        reference: `toolchain:operator` or `engine:name` (entry points), `path/to/file.py:attribute`, or
            `module:attribute`.

    Raises:
        TunableError: it cannot be found or imported, or is not a tunable; the message says where it failed.
    """
    head, colon, attribute = reference.rpartition(":")
    if not colon or not head or not attribute:
        raise TunableError(f"{reference!r} is not a reference; write module:attribute or path/to/file.py:attribute")
    # A path is nobody's name: looking through what is installed takes as long as a trial may.
    home = None if head.endswith(".py") else _installed_home(head, attribute)
    try:
        value = import_reference(home or reference)
    except TunerError as error:
        raise TunableError(str(error)) from error
    if not isinstance(value, Tunable):
        missing = [name for name in _MEMBERS if not hasattr(value, name)]
        raise TunableError(f"{reference} is a {type(value).__name__}, not a tunable; it lacks {', '.join(missing)}")
    return value


def reference_of(tunable: Tunable) -> str:
    """Return a reference that `load` resolves to `tunable`, in this process and in workers.

    Raises:
        TunableError: it is not an attribute of a module that has been imported.
    """
    homes: list[str] = []
    for name, module in list(sys.modules.items()):
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is not tunable:
                continue
            if name == "__main__" or name.startswith(FILE_MODULE):
                if file := getattr(module, "__file__", None):
                    homes.append(f"{Path(file).resolve()}:{attribute}")
            elif installed_as := _installed_as(f"{name}:{attribute}"):
                return installed_as
            else:
                homes.append(f"{name}:{attribute}")
    if not homes:
        raise TunableError(f"{tunable!r} is no module's attribute, so that workers could not find it; assign it to one")
    return homes[0]


def _installed_as(home: str) -> str | None:
    """Return the name under which the tunable at `home` is installed."""
    engines = ((ENGINE, point) for point in entry_points(group=_ENGINES))
    points = itertools.chain(_entry_points(), engines)
    return next((f"{toolchain}:{point.name}" for toolchain, point in points if point.value == home), None)


@functools.lru_cache(maxsize=256)
def _installed_home(toolchain: str, name: str) -> str | None:
    """Return where the kernel of this name is, as it was when it was first asked for: processes do not outlive that."""
    group = _ENGINES if toolchain == ENGINE else f"{_GROUP}{toolchain}"
    return next((point.value for point in entry_points(group=group, name=name)), None)


def _entry_points() -> Iterator[tuple[str, EntryPoint]]:
    """Yield each installed kernel's entry point with its toolchain."""
    for toolchain in dict.fromkeys(toolchain for group in TOOLCHAINS.values() for toolchain in group):
        for point in entry_points(group=f"{_GROUP}{toolchain}"):
            yield toolchain, point


_MEMBERS = sorted(name for name in vars(Tunable) if not name.startswith("_"))


def make_task(
    reference: str, tunable: Tunable, workload: Workload, device: Device, *, needs_tools: bool = True
) -> Task:
    """Return the task of `tunable`, whose tools' versions join the device's environment.

    Args:
        reference: What `load` resolves to `tunable`.
        tunable: The tunable.
        workload: A checked workload.
        device: What to tune for.
        needs_tools: Whether a missing tool is an error; a lookup builds nothing, and does without.

    Raises:
        TunableError: the tunable does not run on this kind of device.
        MissingDependencyError: a tool that it needs is not installed.
    """
    if device.kind not in tunable.device_kinds:
        kinds = ", ".join(tunable.device_kinds)
        raise TunableError(f"{reference} does not run on {device.kind}; it runs on: {kinds}")
    try:
        tools = tunable.environment()
    except MissingDependencyError:
        if needs_tools:
            raise
        tools = {}
    environment = {**device.environment, **tools}
    data = {**device.to_json(), "environment": environment}
    return Task(reference, tunable.version, workload, Device.from_json(data))
