"""How near a measured time is to what the device can do: shares of its peaks, and which of them bounds it.

The roofline (Williams, Waterman and Patterson, *Roofline: an insightful visual performance model for multicore
architectures*, CACM 52(4), 2009) says that a call of `flops` operations on `bytes` of data takes at least

    attainable seconds = max(flops / peak flops a second, bytes / peak bytes a second)

and that the larger of the two bounds it. Which bandwidth is the roof depends on where the data lie. As in the cache-
aware roofline (Ilic, Pratas and Sousa, *Cache-aware roofline model: upgrading the loft*, IEEE Computer Architecture
Letters 13(1), 2014) each cache has a roof of its own, seen from the core: data that repeated calls leave in a cache
come from there, all others, and those of a call with cold caches, from memory. Unlike theirs, the bytes are the
compulsory ones, each input once and each output once, not all that the core loads and stores: what a kernel reads
twice counts against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tuner.types import MemoryLevel, Peaks, Work

__all__ = ["Bound", "Roofline", "least_seconds", "level_of", "roofline"]


class Bound(StrEnum):
    """Which roof is the lower one for a call."""

    COMPUTE = "compute"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Roofline:
    """A time beside what the device could do.

    A share above 1 is shown as it is, and has a reason: instructions that do more than the float32 multiply-adds of the
    peak (dot products of int8 or bfloat16), a kernel that leaves out operations that its operator counts, data of which
    a part lies nearer than the level says, or peaks that were measured while the machine was busy.

    Attributes:
        flops_share: Operations a second, as a share of the peak.
        bandwidth_share: Compulsory bytes a second, as a share of the level's peak.
        flops_per_second: That peak of operations.
        level: The level of memory that the data come from.
        bound: The roof that bounds the call.
        attainable_seconds: The time at that roof.
    """

    flops_share: float
    bandwidth_share: float
    flops_per_second: float
    level: MemoryLevel
    bound: Bound
    attainable_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the level by its name."""
        return {
            "flops_share": self.flops_share,
            "bandwidth_share": self.bandwidth_share,
            "flops_per_second": self.flops_per_second,
            "bytes_per_second": self.level.bytes_per_second,
            "level": self.level.name,
            "bound": self.bound.value,
            "attainable_seconds": self.attainable_seconds,
        }


def level_of(work: Work, peaks: Peaks, *, cold: bool = False) -> MemoryLevel:
    """Return the level of memory that the data of a call come from.

    Repeated calls leave their data in the first level that holds all of them; with cold caches they come from memory.
    """
    memory = peaks.levels[-1]
    return memory if cold else next((one for one in peaks.levels if work.bytes <= one.capacity_bytes), memory)


def least_seconds(work: Work, flops_per_second: float, bytes_per_second: float) -> tuple[float, Bound]:
    """Return the shortest time in which these peaks do `work`, and which of them bounds it."""
    computing, moving = work.flops / flops_per_second, work.bytes / bytes_per_second
    return max(computing, moving), Bound.COMPUTE if computing > moving else Bound.MEMORY


def roofline(work: Work, seconds: float, peaks: Peaks, *, cold: bool = False) -> Roofline:
    """Return where a call that does `work` in `seconds` stands.

    Args:
        work: Its operations and its compulsory bytes.
        seconds: Its measured time.
        peaks: The device's.
        cold: Whether the caches were emptied before each call.

    Example:
        >>> levels = (MemoryLevel("L2", 2**20, 2**19, 1e11, "read"), MemoryLevel("memory", 2**34, 2**30, 1e10, "read"))
        >>> peaks = Peaks(1e11, levels, "2025-01-01T00:00:00+00:00", 0.0)
        >>> add = roofline(Work(flops=1e6, bytes=12e6), 2e-3, peaks)
        >>> add.level.name, add.bandwidth_share, add.flops_share, add.bound.value
        ('memory', 0.6, 0.005, 'memory')
    """
    level = level_of(work, peaks, cold=cold)
    attainable, bound = least_seconds(work, peaks.flops_per_second, level.bytes_per_second)
    return Roofline(
        flops_share=work.flops / peaks.flops_per_second / seconds,
        bandwidth_share=work.bytes / level.bytes_per_second / seconds,
        flops_per_second=peaks.flops_per_second,
        level=level,
        bound=bound,
        attainable_seconds=attainable,
    )
