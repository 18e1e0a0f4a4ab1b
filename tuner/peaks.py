"""Measures the highest rates of a device: the roofs of its roofline.

A peak is a maximum, and here alone the best of several samples is the right number: what disturbs a loop only slows
it, no luck makes the hardware faster than it is, and a roof has to lie above all that kernels reach. The time of a
kernel is a different thing, a median of pairs, since there the question is what it usually takes, and the best of many
samples would be a matter of luck.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from tuner.errors import TunerError
from tuner.runners import Runner
from tuner.tunable import load, make_task
from tuner.types import Device, MemoryLevel, Peaks, Sampling, Status

__all__ = ["measure_peaks"]

_PROBES = {"cpu": "tuner.kernels.probe.cpp:PROBE"}
# Each takes a fraction of a second, so that together they outlast what disturbs one of them.
_ROUNDS = 7
_MEMORY = "memory"
_MOST_MEMORY_BYTES = 1 << 30
# The loops of a core go through a whole number of these.
_STEP_BYTES = 3 << 10


def measure_peaks(runner: Runner, device: Device) -> Peaks:
    """Return the highest rates seen on `device`, measured in a few seconds by a worker of `runner`.

    The first cache is measured with data that half fill it, the others with data whose size is the geometric mean of
    the cache below and their own: well more than the one holds, and well less than the other, since a cache that is
    shared with other cores, or with other machines of a host, never holds for one of them as much as it says. Memory is
    measured with four times the last cache, but at most 1 GiB and a quarter of the memory.

    Raises:
        TunerError: there is no probe for this kind of device, or it failed; the message says how.
    """
    if device.kind not in _PROBES:
        raise TunerError(f"the peaks of a {device.kind} device cannot be measured; known: {', '.join(_PROBES)}")
    reference = _PROBES[device.kind]
    probe = load(reference)
    capacities = _capacities(device)
    sizes = _working_sets(device, capacities)
    fields = {"threads": device.count, "vector_bytes": device.feature("vector_bytes"), **sizes}
    task = make_task(reference, probe, probe.workload(fields), device)
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
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        load=float(measured.resources["load"]),
    )


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
