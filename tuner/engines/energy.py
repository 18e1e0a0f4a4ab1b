"""Energy counters of this machine: packages of CPUs (RAPL, through Linux's powercap) and NVIDIA's GPUs (NVML)."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["EnergyMeter"]

_POWERCAP = Path("/sys/class/powercap")
# RAPL's counters move every millisecond (Intel, Software Developer's Manual, volume 3, 16.10). NVML's documentation
# names no period; that of its power readings is 20 to 100 milliseconds (Yang, Adamek and Armour, SC 2024).
_RAPL_SECONDS = 1e-3
_NVML_SECONDS = 0.1


class EnergyMeter:
    """Adds up what the machine's counters say: of the whole machine, not of one process.

    Args:
        gpus: Read the counters of these of the GPUs that this process may use; empty for the CPU's packages.

    Example:
        >>> EnergyMeter([]).joules() is None or EnergyMeter([]).joules() >= 0
        True
    """

    def __init__(self, gpus: Sequence[int] = ()) -> None:
        self._counters = _nvml(gpus) if gpus else _rapl(_POWERCAP)
        self._period_seconds = _NVML_SECONDS if gpus else _RAPL_SECONDS

    @property
    def period_seconds(self) -> float:
        """How often the counters move, roughly: what is shorter is not told apart."""
        return self._period_seconds

    @property
    def is_there(self) -> bool:
        """Whether there is a counter to read."""
        return bool(self._counters)

    def joules(self) -> float | None:
        """Return what all counters show together, to be subtracted from what they show later; None without any."""
        if not self._counters:
            return None
        return sum(counter() for counter in self._counters)


class _Package:
    """One package's counter, which begins anew when it is full."""

    def __init__(self, folder: Path) -> None:
        self._energy = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last = int(self._energy.read_text())
        self._total = 0

    def __call__(self) -> float:
        now = int(self._energy.read_text())
        self._total += (now - self._last) % (self._range + 1)
        self._last = now
        return self._total / 1e6


def _rapl(root: Path) -> list[Callable[[], float]]:
    """Return the packages' counters; reading them needs a right that most systems give to root alone."""
    counters: list[Callable[[], float]] = []
    # `intel-rapl:0` is a package, on AMD's CPUs, too; `intel-rapl:0:0` is a part of it.
    for folder in sorted(root.glob("intel-rapl:*")) if root.is_dir() else ():
        if folder.name.count(":") == 1 and os.access(folder / "energy_uj", os.R_OK):
            with contextlib.suppress(OSError, ValueError):
                counters.append(_Package(folder))
    return counters


def _handle(nvml: Any, number: int) -> Any:
    """Return NVML's handle of a GPU by the number that this process knows it by, which CUDA_VISIBLE_DEVICES decides."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    name = visible[number] if number < len(visible) else str(number)
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)


def _nvml(gpus: Sequence[int]) -> list[Callable[[], float]]:
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handles = [_handle(nvml, number) for number in gpus]
        for handle in handles:
            nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # a missing package, driver or counter: then there is no meter
        return []

    def reader(handle: Any) -> Callable[[], float]:
        return lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3

    return [reader(handle) for handle in handles]
