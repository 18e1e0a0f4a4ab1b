"""Under which conditions a measurement was made: what else ran, and how fast the core was clocked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from tuner.types import Scalar

__all__ = ["Conditions", "CpuConditions", "conditions"]

_FREQUENCY = "/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"
_CPUINFO = Path("/proc/cpuinfo")


class Conditions(Protocol):
    """Tells under which conditions a device is."""

    def seen(self) -> dict[str, Scalar]:
        """Return what a measurement keeps of them."""

    def disturbed(self) -> bool:
        """Return whether something slowed the device since this was last asked."""


class CpuConditions:
    """Those of this machine's CPU, which never tells that it was slowed: only the reference's time does."""

    def seen(self) -> dict[str, Scalar]:
        """Return `conditions()`."""
        return conditions()

    def disturbed(self) -> bool:
        """Return False."""
        return False


def conditions() -> dict[str, Scalar]:
    """Return `load`, the machine's runnable processes over the last minute, and `frequency_hz` of the core, if told."""
    found: dict[str, Scalar] = {"load": os.getloadavg()[0]}
    if frequency := _frequency():
        found["frequency_hz"] = frequency
    return found


def _frequency() -> float | None:
    """Return the clock of the first core that this process may use; virtual machines tell a constant, or nothing."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    core = min(os.sched_getaffinity(0))
    try:
        return 1e3 * float(Path(_FREQUENCY.format(core=core)).read_text())
    except (OSError, ValueError):
        return _cpuinfo_frequency(core)


def _cpuinfo_frequency(core: int) -> float | None:
    try:
        processors = _CPUINFO.read_text().split("\n\n")
        fields = dict(line.split(":", 1) for line in processors[core].splitlines() if ":" in line)
        megahertz = next(value for name, value in fields.items() if name.strip() == "cpu MHz")
        return 1e6 * float(megahertz)
    except (OSError, ValueError, IndexError, StopIteration):
        return None
