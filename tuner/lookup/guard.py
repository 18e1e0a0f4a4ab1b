"""What a lookup may ask of a kernel while a request waits: its default, and whether a config is valid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from tuner.types import Config, Scalar, Workload

__all__ = ["Guard", "Rules"]


@runtime_checkable
class Guard(Protocol):
    """Answers for a kernel on one device. A lookup calls it for workloads that it has no winner for, once each.

    What a guard raises is logged once, and then counts as no.
    """

    @property
    def version(self) -> str | None:
        """The kernel's version here; None where that is unknown."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The versions here of the tools that enter a result."""

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the whole workload: what was left out filled in.

        Raises:
            TunerError: it is none of this kernel.
        """

    def default(self, workload: Workload) -> Config:
        """Return the config to use where nothing is known."""

    def allows(self, config: Config, workload: Workload) -> bool:
        """Return whether `config` is valid for `workload`, though it was proven on another one."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A guard of plain functions, for serving code that has no tunable to load.

    Attributes:
        default_config: The default, or a function of the workload that returns it.
        allowed: Whether a config is valid for a workload; as they stand, all are.
        version: The kernel's version here; None where that is unknown.
        environment: The versions here of the tools that enter a result.

    Example:
        >>> rules = Rules({"BLOCK": 64}, lambda config, workload: config["BLOCK"] <= workload["M"])
        >>> rules.default(Workload(M=16)), rules.allows(Config(BLOCK=32), Workload(M=16))
        (Config(BLOCK=64), False)
    """

    default_config: Mapping[str, Scalar] | Callable[[Workload], Mapping[str, Scalar]]
    allowed: Callable[[Config, Workload], bool] = lambda config, workload: True
    version: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the workload as it was asked for."""
        return Workload(fields)

    def default(self, workload: Workload) -> Config:
        """Return the default."""
        given = self.default_config
        return Config(given(workload) if callable(given) else given)

    def allows(self, config: Config, workload: Workload) -> bool:
        """Return what `allowed` says."""
        return bool(self.allowed(config, workload))
