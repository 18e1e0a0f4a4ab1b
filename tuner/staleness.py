"""What has changed since a winner was proven: a pure comparison, for lookups, lists and campaigns alike.

Nothing here imports more than the standard library and `tuner.types`, so that serving code stays light.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tuner.types import Winner

__all__ = ["IGNORED", "VERSION", "Change", "changes", "differences", "since"]

VERSION = "kernel source"
"""The name under which a tunable's own version is told."""

IGNORED = frozenset({"tuner", "system"})
"""What an environment tells beside what kernels are built with and run by.

This package's version says nothing of a kernel whose source is the same, and systems get a new release every few days.
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not what it was.

    Attributes:
        name: `compiler`, `cuda_driver`, `triton`, ... as in `Device.environment`, or `VERSION`.
        then: What it was when the winner was proven.
        now: What it is.

    Example:
        >>> print(Change("triton", "3.4.0", "3.7.1"))
        triton 3.4.0 -> 3.7.1
    """

    name: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.name} {self.then} -> {self.now}"


def differences(
    then: Mapping[str, str], now: Mapping[str, str], *, ignored: Collection[str] = IGNORED
) -> tuple[Change, ...]:
    """Return what two environments differ by, of what both of them tell, in the order of the first.

    What only one of them tells is no difference: a machine that serves has no compiler to ask, and what a newer version
    of this package asks for was not asked for before.

    Example:
        >>> then = {"compiler": "gcc 12.2", "system": "Linux 6.1", "triton": "3.4.0"}
        >>> [str(change) for change in differences(then, {"compiler": "gcc 13.1", "system": "Linux 6.8"})]
        ['compiler gcc 12.2 -> gcc 13.1']
    """
    return tuple(
        Change(name, value, now[name])
        for name, value in then.items()
        if name not in ignored and now.get(name, value) != value
    )


def since(
    version: str,
    environment: Mapping[str, str],
    version_now: str | None,
    environment_now: Mapping[str, str],
    *,
    ignored: Collection[str] = IGNORED,
) -> tuple[Change, ...]:
    """Return what has changed since something was proven of a kernel; see `changes`.

    Example:
        >>> [str(change) for change in since("v1", {"triton": "3.4.0"}, "v2", {"triton": "3.4.0"})]
        ['kernel source v1 -> v2']
    """
    source = () if version_now in (None, version) else (Change(VERSION, version, str(version_now)),)
    return source + differences(environment, environment_now, ignored=ignored)


def changes(
    winner: Winner, version: str | None, environment: Mapping[str, str], *, ignored: Collection[str] = IGNORED
) -> tuple[Change, ...]:
    """Return what has changed since `winner` was proven; if nothing, it is as good as on its first day.

    Args:
        winner: A winner, found for the device's model of hardware.
        version: The kernel's version now; None where that is unknown, as where the kernel is not installed.
        environment: The device's environment now, with the kernel's tools: `Task.device.environment`.
        ignored: Names in the environment that do not matter.

    Example:
        >>> from tuner.types import Config, Device, Evidence, State, Task, Workload
        >>> device = Device("cuda", "a GPU", "sm_90", 1, 1 << 36, {}, {"triton": "3.4.0"})
        >>> task = Task("triton:softmax", "v1", Workload(M=4, N=512), device)
        >>> times = {"default": Config(), "default_seconds": 2.0, "config_seconds": 1.0, "speedup": 2.0}
        >>> rules = {"interval": (1.9, 2.1), "confidence": 0.99, "threshold": 1.0, "rounds": 30, "seed": 0}
        >>> seen = {"samples": {}, "resources": {}, "environment": device.environment, "measured_at": ""}
        >>> winner = Winner(task, Config(BLOCK=64), Evidence(**times, **rules, **seen), State.PROMOTED)
        >>> changes(winner, "v1", {"triton": "3.4.0"})
        ()
        >>> [str(change) for change in changes(winner, "v2", {"triton": "3.7.1"})]
        ['kernel source v1 -> v2', 'triton 3.4.0 -> 3.7.1']
    """
    return since(winner.task.version, winner.evidence.environment, version, environment, ignored=ignored)
