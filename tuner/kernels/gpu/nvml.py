"""What NVIDIA's management library tells while something is measured: clocks, temperature, slowdowns, power, energy."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable
from typing import Any

from tuner.types import Scalar

__all__ = ["GpuConditions"]

# Of the reasons for a lower clock, those that come from outside of what is measured: hardware slowdown, software and
# hardware thermal slowdown, power brake. The power cap is not among them: a hungry program reaches it by itself.
_SLOWED = 0x08 | 0x20 | 0x40 | 0x80


class GpuConditions:
    """Conditions of one GPU; where the library or its package is missing, nothing is told, and nothing seems disturbed.

    Args:
        index: The GPU's number.
    """

    def __init__(self, index: int = 0) -> None:
        self._api: Any = None
        self._device: Any = None
        # Whatever is missing, measuring goes on without.
        with contextlib.suppress(Exception):
            api = importlib.import_module("pynvml")
            api.nvmlInit()
            self._device = api.nvmlDeviceGetHandleByIndex(_physical(index))
            self._api = api

    @property
    def available(self) -> bool:
        """Whether there is anything to be told."""
        return self._api is not None

    def seen(self) -> dict[str, Scalar]:
        """Return clocks in hertz, temperature in degrees Celsius, power in watts, and who else uses the device."""
        api, device = self._api, self._device
        if api is None:
            return {"nvml": "not available"}
        found = {
            "clock_hz": self._told(lambda: 1e6 * api.nvmlDeviceGetClockInfo(device, api.NVML_CLOCK_SM)),
            "memory_clock_hz": self._told(lambda: 1e6 * api.nvmlDeviceGetClockInfo(device, api.NVML_CLOCK_MEM)),
            "temperature_celsius": self._told(lambda: api.nvmlDeviceGetTemperature(device, api.NVML_TEMPERATURE_GPU)),
            "power_watts": self._told(lambda: 1e-3 * api.nvmlDeviceGetPowerUsage(device)),
            "slowdown_reasons": self._told(self._reasons),
            "other_processes": self._told(self._others),
        }
        return {name: value for name, value in found.items() if value is not None}

    def disturbed(self) -> bool:
        """Return whether heat or hardware slows the clock now."""
        reasons = self._told(self._reasons) if self._api is not None else None
        return bool(int(reasons or 0) & _SLOWED)

    def joules(self) -> float | None:
        """Return the energy that the device has taken since the driver was loaded, or None where it does not tell."""
        if self._api is None:
            return None
        found = self._told(lambda: 1e-3 * self._api.nvmlDeviceGetTotalEnergyConsumption(self._device))
        return None if found is None else float(found)

    def _reasons(self) -> int:
        return int(self._api.nvmlDeviceGetCurrentClocksThrottleReasons(self._device))

    def _others(self) -> int:
        running = self._api.nvmlDeviceGetComputeRunningProcesses(self._device)
        return sum(1 for process in running if process.pid != os.getpid())

    @staticmethod
    def _told(read: Callable[[], int | float]) -> int | float | None:
        # Not every device, and no virtual one, tells everything.
        try:
            return read()
        except Exception:
            return None


def _physical(index: int) -> int:
    """Return the number that the library counts by, where the process was given some of the GPUs only."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    return int(visible) if index == 0 and visible.isdigit() else index
