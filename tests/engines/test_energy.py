"""Energy: counters that move slowly, and the GPUs that a process may use."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from typing import Any

import pytest

from tuner.devices import detect
from tuner.engines import Window
from tuner.engines.energy import EnergyMeter
from tuner.engines.module import engine as module_engine
from tuner.engines.torch_module import ENGINE as TORCH


class Slow:
    """A counter that counts what was served: three joules a reading, at most once a period."""

    is_there = True

    def __init__(self, gpus: Sequence[int] = ()) -> None:
        del gpus
        self.period_seconds = 0.02
        self.readings = 0

    def joules(self) -> float:
        self.readings += 1
        return 3.0 * self.readings


def test_energy_is_that_of_one_window_however_short_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_engine, "EnergyMeter", Slow)
    workload = TORCH.workload({"model": "decoder-tiny", "items": 8})
    engine = TORCH.create(workload)
    try:
        engine.apply(TORCH.default(workload, detect("cpu")))
        found = engine.measure(Window(1))
    finally:
        engine.close()
    # Between the two last readings it was served several times, of which each took its share of three joules.
    [per_item] = found["joules_per_item"]
    assert 0 < per_item < 3 / 8
    [per_token] = found["joules_per_token"]
    assert per_token == pytest.approx(per_item / 8)


@pytest.mark.parametrize(("visible", "expected"), [(None, 1), ("5,3", 3), ("GPU-a,GPU-b", "GPU-b")])
def test_the_counter_is_that_of_a_gpu_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: int | str
) -> None:
    asked: list[Any] = []
    nvml: Any = types.ModuleType("pynvml")
    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetHandleByIndex = nvml.nvmlDeviceGetHandleByUUID = asked.append
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: 2000
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert EnergyMeter([1]).joules() == 2.0
    assert asked == [expected]
