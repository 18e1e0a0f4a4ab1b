"""Measures the highest rates of a device: the roofs of its roofline.

A peak is a maximum, and here alone the best of several samples is the right number: what disturbs a loop only slows
it, no luck makes the hardware faster than it is, and a roof has to lie above all that kernels reach. The time of a
kernel is a different thing, a median of pairs, since there the question is what it usually takes, and the best of many
samples would be a matter of luck.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from tuner.errors import TunerError
from tuner.gpus import limits_of
from tuner.kernels.gpu.arch import has_fp8
from tuner.runners import Runner
from tuner.tunable import load, make_task
from tuner.types import Device, MemoryLevel, Peaks, Sampling, Scalar, Status

__all__ = ["measure_peaks"]

_CPU_PROBE = "tuner.kernels.probe.cpp:PROBE"
_GPU_PROBES = "tuner.kernels.probe.triton"
# Each takes a fraction of a second, so that together they outlast what disturbs one of them.
_ROUNDS = 7
_MEMORY = "memory"
_MOST_MEMORY_BYTES = 1 << 30
# The loops of a core go through a whole number of these.
_STEP_BYTES = 3 << 10

# Of what the probe multiplies, under the names that data sheets have: tensor cores read float32 as TensorFloat-32.
_PRODUCTS = {"bf16": "bf16", "fp16": "fp16", "fp8": "fp8", "int8": "int8", "fp32": "tf32"}
# Some tenths of a millisecond on what is fast today.
_REPEATS = 64
_CHAINS = 1 << 22
# Columns of K of a tile, where shared memory holds as much; otherwise half of it.
_DEEP_BYTES = 256
_DEEP_FROM_BYTES = 99 << 10
# How many tensors each goes through.
_PATTERNS = {"copy": 2, "triad": 3}


def measure_peaks(runner: Runner, device: Device) -> Peaks:
    """Return the highest rates seen on `device`, measured in a few seconds by a worker of `runner`.

    Raises:
        TunerError: there is no probe for this kind of device, or it failed; the message says how.
    """
    if device.kind not in _MEASURES:
        raise TunerError(f"the peaks of a {device.kind} device cannot be measured; known: {', '.join(_MEASURES)}")
    return _MEASURES[device.kind](runner, device)


def _cpu_peaks(runner: Runner, device: Device) -> Peaks:
    """Return the rates of the CPU's probe.

    The first cache is measured with data that half fill it, the others with data whose size is the geometric mean of
    the cache below and their own: well more than the one holds, and well less than the other, since a cache that is
    shared with other cores, or with other machines of a host, never holds for one of them as much as it says. Memory is
    measured with four times the last cache, but at most 1 GiB and a quarter of the memory.
    """
    probe = load(_CPU_PROBE)
    capacities = _capacities(device)
    sizes = _working_sets(device, capacities)
    fields = {"threads": device.count, "vector_bytes": device.feature("vector_bytes"), **sizes}
    task = make_task(_CPU_PROBE, probe, probe.workload(fields), device)
    [measured] = runner.compare(task, [probe.default(task.workload, device)], Sampling(0, _ROUNDS)).result()
    if measured.status is not Status.CORRECT:
        raise TunerError(f"the peaks of {device.name!r} could not be measured: {measured.error}")
    levels = []
    below = 0
    for name, capacity in capacities.items():
        if capacity > below:
            rates = {metric: max(rates) for metric, rates in measured.samples.items() if metric.startswith(f"{name}_")}
            best = max(rates, key=lambda metric: rates[metric])
            levels.append(MemoryLevel(name, capacity, sizes[name], rates[best], best.removeprefix(f"{name}_")))
        below = max(below, capacity)
    return Peaks(
        flops_per_second=max(measured.samples["flops"]),
        levels=tuple(levels),
        measured_at=_now(),
        load=float(measured.resources["load"]),
    )


def _gpu_peaks(runner: Runner, device: Device) -> Peaks:
    """Return the rates of the GPU's probe: of each kernel the best config, checked and timed as any kernel is.

    Products of matrices repeat that of two tiles that stay where matrix units read them; other arithmetic is chains of
    multiply-adds in registers; and memory is read and written by tensors that rotate, as in campaigns, so that its rate
    is that of data which no cache holds.
    """
    limits = limits_of(device)
    deep = _DEEP_BYTES if limits.block_shared_bytes >= _DEEP_FROM_BYTES else _DEEP_BYTES // 2
    tile: dict[str, Scalar] = {"PROGRAMS": limits.multiprocessors, "REPEATS": _REPEATS, "DEPTH_BYTES": deep}
    numbers = min(_MOST_MEMORY_BYTES, device.memory_bytes // 64) // 4
    # All are asked for at once, so that what comes next is built while one is measured.
    products = {
        name: _Rate(runner, device, "MULTIPLIES", {**tile, "dtype": dtype})
        for dtype, name in _PRODUCTS.items()
        if dtype != "fp8" or has_fp8(device)
    }
    chains = _Rate(runner, device, "MULTIPLIES_AND_ADDS", {"N": _CHAINS, "REPEATS": _REPEATS})
    moves = {name: _Rate(runner, device, "MOVES", {"N": numbers, "pattern": name}) for name in _PATTERNS}
    moved = {name: rate.bytes_per_second() for name, rate in moves.items()}
    best = max(moved, key=lambda name: moved[name])
    memory = MemoryLevel(_MEMORY, device.memory_bytes, _PATTERNS[best] * 4 * numbers, moved[best], best)
    rates = {name: rate.flops_per_second() for name, rate in products.items()}
    return Peaks(chains.flops_per_second(), (memory,), _now(), 0.0, rates)


class _Rate:
    """The highest rate of any config of a kernel of the GPU's probe, once it is asked for."""

    def __init__(self, runner: Runner, device: Device, name: str, fields: Mapping[str, Scalar]) -> None:
        reference = f"{_GPU_PROBES}:{name}"
        probe = load(reference)
        task = make_task(reference, probe, probe.workload(fields), device)
        configs = list(probe.search_space(task.workload, device).iterate())
        self._what = f"{name} {dict(fields)} on {device.name!r}"
        self._work = probe.work(task.workload)
        self._measured = runner.compare(task, configs, Sampling(0, _ROUNDS))

    def flops_per_second(self) -> float:
        """Return operations a second."""
        return self._work.flops / self._seconds()

    def bytes_per_second(self) -> float:
        """Return bytes a second, read and written."""
        return self._work.bytes / self._seconds()

    def _seconds(self) -> float:
        found = self._measured.result()
        times = [min(one.samples["seconds"]) for one in found if one.status is Status.CORRECT]
        if not times:
            raise TunerError(f"peaks could not be measured: {self._what}: {found[0].error}")
        return min(times)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _capacities(device: Device) -> dict[str, int]:
    """Return what each level of memory holds, over all cores of the device; the last cache is one for all of them."""
    return {
        "L1": device.count * device.feature("l1d_bytes"),
        "L2": device.count * device.feature("l2_bytes"),
        "L3": device.feature("l3_bytes"),
        _MEMORY: device.memory_bytes,
    }


def _working_sets(device: Device, capacities: dict[str, int]) -> dict[str, int]:
    """Return the bytes to go through at each level, over all cores."""
    sizes = {
        "L1": capacities["L1"] // 2,
        "L2": math.isqrt(capacities["L1"] * capacities["L2"]),
        "L3": math.isqrt(capacities["L2"] * capacities["L3"]),
        _MEMORY: min(4 * capacities["L3"], _MOST_MEMORY_BYTES, capacities[_MEMORY] // 4),
    }
    step = device.count * _STEP_BYTES
    return {name: max(1, size // step) * step for name, size in sizes.items()}


_MEASURES: Mapping[str, Callable[[Runner, Device], Peaks]] = {"cpu": _cpu_peaks, "cuda": _gpu_peaks, "hip": _gpu_peaks}
