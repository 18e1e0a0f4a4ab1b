"""How many devices a measurement takes at once, and whether a machine has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.tunable import Placeable, load
from tuner.types import Config, Measurement, Status, Task

__all__ = ["Placement", "placement_of", "with_devices"]


@dataclass(frozen=True, slots=True)
class Placement:
    """What has to be free before a measurement starts.

    Attributes:
        devices: Devices of one machine, for the servers that run at once.
        refusal: Why it cannot be measured on any machine there is; empty where it can.
    """

    devices: int = 1
    refusal: str = ""


def placement_of(task: Task, configs: Sequence[Config], most: int) -> Placement:
    """Return what measuring `configs` together takes.

    Servers that do not fit side by side take turns: then it is what the largest needs.

    Args:
        task: What they belong to.
        configs: What is measured together, the reference first.
        most: The devices of the largest machine.

    Example:
        >>> from tuner.types import Device, Workload
        >>> device = Device("cpu", "a processor", "x86_64", 1, 0)
        >>> placement_of(Task("tuner.testing.engine:WIDE", "1", Workload(N=3), device), [Config(RANKS=4)], most=2)
        Placement(devices=4, refusal='needs 4 devices at once, and the largest machine has 2')
    """
    tunable = load(task.tunable)
    if not isinstance(tunable, Placeable):
        return Placement()
    needs = sorted((tunable.devices(config, task.workload) for config in configs), reverse=True)
    if needs[0] > most:
        return Placement(needs[0], f"needs {needs[0]} devices at once, and the largest machine has {most}")
    for config in configs:
        if message := _lack_of_memory(tunable, config, task):
            return Placement(needs[0], message)
    together = sum(needs[: max(1, tunable.alive)])
    return Placement(together if together <= most else needs[0])


def with_devices(task: Task, configs: Sequence[Config], measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return the measurements, each with the devices that it and its reference used, where that is known."""
    tunable = load(task.tunable)
    if not isinstance(tunable, Placeable):
        return list(measurements)
    counts = [tunable.devices(config, task.workload) for config in configs]
    return [
        replace(one, resources={**one.resources, "devices": count, "reference_devices": counts[0]})
        if one.status is Status.CORRECT
        else one
        for one, count in zip(measurements, counts, strict=True)
    ]


def _lack_of_memory(tunable: Placeable, config: Config, task: Task) -> str:
    """Return why a config's server does not fit into the memory of its devices; empty where it does."""
    need, there = tunable.memory_bytes(config, task.workload), task.device.memory_bytes
    if not there or need <= there:
        return ""
    return f"needs {need / 2**30:.3g} GiB of memory on each device, which has {there / 2**30:.3g}"
