from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime

import pytest

from tuner.devices import detect
from tuner.errors import TunerError
from tuner.gpus import target_device
from tuner.peaks import measure_peaks
from tuner.runners import Activity, LocalRunner
from tuner.tunable import load
from tuner.types import Build, Config, Device, Measurement, Peaks, Sampling, Status, Task

DEVICE = Device("cpu", "A", "x86_64", 2, 1 << 34, {"l1d_bytes": 1 << 15, "l2_bytes": 1 << 20, "l3_bytes": 1 << 25}, {})
DEVICE = replace(DEVICE, features={**DEVICE.features, "vector_bytes": 32})
LEVELS = ("L1", "L2", "L3", "memory")
STEP = 2 * 3072


class OneAnswer:
    """A runner that answers every comparison alike, and keeps what was asked."""

    capacity = 1
    activity = Activity()

    def __init__(self, answer: Measurement) -> None:
        self._answer = answer
        self.tasks: list[Task] = []

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        raise NotImplementedError

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        self.tasks.append(task)
        future: Future[list[Measurement]] = Future()
        future.set_result([self._answer] * len(configs))
        return future

    def close(self) -> None:
        pass


def rates(rate: Callable[[int, str], float] = lambda level, pattern: 1e9) -> dict[str, tuple[float, ...]]:
    return {
        "flops": (1e9, 3e9, 2e9),
        **{
            f"{name}_{pattern}": (rate(level, pattern) / 2, rate(level, pattern), rate(level, pattern) / 4)
            for level, name in enumerate(LEVELS)
            for pattern in ("read", "prefetch", "triad", "stream")
        },
    }


def test_a_peak_is_the_best_sample_of_the_best_loop() -> None:
    best = dict(enumerate(["triad", "read", "prefetch", "stream"]))
    samples = rates(lambda level, pattern: (8e9 if pattern == best[level] else 6e9) / (level + 1))
    runner = OneAnswer(Measurement(Status.CORRECT, samples, resources={"load": 0.5}))
    peaks = measure_peaks(runner, DEVICE)
    assert peaks.flops_per_second == 3e9
    assert [level.name for level in peaks.levels] == list(LEVELS)
    assert [level.pattern for level in peaks.levels] == list(best.values())
    assert [level.bytes_per_second for level in peaks.levels] == [8e9, 4e9, 8e9 / 3, 2e9]
    assert peaks.load == 0.5
    assert datetime.fromisoformat(peaks.measured_at).utcoffset() is not None


def test_what_each_level_is_measured_with_is_recorded_and_asked_for() -> None:
    runner = OneAnswer(Measurement(Status.CORRECT, rates(), resources={"load": 0.0}))
    peaks = measure_peaks(runner, DEVICE)
    l1, l2, l3, memory = peaks.levels
    assert [level.capacity_bytes for level in peaks.levels] == [2 << 15, 2 << 20, 1 << 25, 1 << 34]
    # Each size is a whole number of steps of both cores, just below what is said of it.
    assert all(level.working_set_bytes % STEP == 0 for level in peaks.levels)
    assert 0 <= (1 << 15) - l1.working_set_bytes < STEP
    assert 0 <= (4 << 25) - memory.working_set_bytes < STEP
    assert l1.capacity_bytes < l2.working_set_bytes < l2.capacity_bytes / 2
    assert l2.capacity_bytes < l3.working_set_bytes < l3.capacity_bytes / 2
    [task] = runner.tasks
    assert [task.workload[name] for name in LEVELS] == [level.working_set_bytes for level in peaks.levels]
    assert (task.workload["threads"], task.workload["vector_bytes"]) == (2, 32)


def test_a_huge_last_cache_does_not_ask_for_more_than_a_gibibyte() -> None:
    runner = OneAnswer(Measurement(Status.CORRECT, rates(), resources={"load": 0.0}))
    for l3, memory, most in ((480 << 20, 1 << 36, 1 << 30), (480 << 20, 1 << 30, 1 << 28)):
        device = replace(DEVICE, memory_bytes=memory, features={**DEVICE.features, "l3_bytes": l3})
        used = measure_peaks(runner, device).levels[-1].working_set_bytes
        assert 0 <= most - used < STEP


def test_a_cache_that_holds_no_more_than_the_one_below_is_no_level() -> None:
    runner = OneAnswer(Measurement(Status.CORRECT, rates(), resources={"load": 0.0}))
    device = replace(DEVICE, count=64)
    assert [level.name for level in measure_peaks(runner, device).levels] == ["L1", "L2", "memory"]


def test_a_probe_that_fails_is_an_error_that_says_how() -> None:
    with pytest.raises(TunerError, match="peaks of 'A' could not be measured: killed"):
        measure_peaks(OneAnswer(Measurement(Status.TIMEOUT, error="killed")), DEVICE)
    with pytest.raises(TunerError, match="peaks of a tpu device"):
        measure_peaks(OneAnswer(Measurement(Status.CORRECT)), replace(DEVICE, kind="tpu"))
    with pytest.raises(TunerError, match=r"peaks could not be measured: MOVES .*: killed"):
        measure_peaks(OneAnswer(Measurement(Status.TIMEOUT, error="killed")), target_device("h200"))


def test_peaks_of_a_gpu_are_the_best_rates_of_what_it_does_in_the_time() -> None:
    runner = OneAnswer(Measurement(Status.CORRECT, {"seconds": (2e-4, 1e-4, 3e-4)}))
    device = target_device("h200")
    peaks = measure_peaks(runner, device)
    assert set(peaks.dtype_flops_per_second) == {"bf16", "fp16", "fp8", "int8", "tf32"}
    for task, rate in zip(runner.tasks, peaks.dtype_flops_per_second.values(), strict=False):
        assert rate == load(task.tunable).work(task.workload).flops / 1e-4
    # Each of 132 multiprocessors multiplies two tiles 64 times.
    assert peaks.of("bf16").flops_per_second == 2 * 128 * 256 * 128 * 64 * 132 / 1e-4
    [memory] = peaks.levels
    # A triad of 1 GiB each moves more than a copy in the same time.
    assert (memory.pattern, memory.bytes_per_second) == ("triad", 3 * (1 << 30) / 1e-4)
    assert Peaks.from_json(json.loads(json.dumps(peaks.to_json()))) == peaks
    # No tensor core of an A100 takes floats of eight bits.
    assert "fp8" not in measure_peaks(runner, target_device("a100")).dtype_flops_per_second


@pytest.mark.parametrize("threads", [1, 2])
def test_the_probe_of_this_cpu_gives_every_rate_in_every_round(threads: int) -> None:
    device = replace(detect("cpu"), count=threads)
    probe = load("tuner.kernels.probe.cpp:PROBE")
    sizes = {"L1": 6 << 10, "L2": 96 << 10, "L3": 1200 << 10, "memory": 12 << 20}
    workload = probe.workload({"threads": threads, "vector_bytes": device.feature("vector_bytes"), **sizes})
    config = probe.default(workload, device)
    build = Build(config, probe.build(config, workload, device))
    [measured] = probe.measure([build], workload, Sampling(0, 2))
    assert measured.status is Status.CORRECT
    assert set(measured.samples) == set(rates())
    for values in measured.samples.values():
        assert len(values) == 2
        assert all(value > 0 and math.isfinite(value) for value in values)


def test_a_probe_without_memory_fails() -> None:
    device = detect("cpu")
    probe = load("tuner.kernels.probe.cpp:PROBE")
    sizes = {"L1": 6 << 10, "L2": 96 << 10, "L3": 1200 << 10, "memory": 1 << 60}
    workload = probe.workload({"threads": 1, "vector_bytes": device.feature("vector_bytes"), **sizes})
    config = probe.default(workload, device)
    [measured] = probe.measure([Build(config, probe.build(config, workload, device))], workload, Sampling(0, 1))
    assert measured.status is Status.RUNTIME
    assert "no memory" in measured.error


@pytest.mark.slow
def test_this_cpu_is_measured_in_a_worker() -> None:
    device = detect("cpu")
    runner = LocalRunner(builders=1)
    try:
        peaks = measure_peaks(runner, device)
    finally:
        runner.close()
    assert peaks.levels[0].name == "L1"
    assert peaks.levels[-1].name == "memory"
    assert all(math.isfinite(level.bytes_per_second) for level in peaks.levels)
    assert peaks.flops_per_second > 0
