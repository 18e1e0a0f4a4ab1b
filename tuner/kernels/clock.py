"""Which clock decides: time on the wall, or the time for which the thread had its core."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = ["Choice", "Clock", "Elapsed", "choose", "voluntary_switches"]

# Some systems count CPU time in ticks of milliseconds.
_COARSE_SECONDS = 1e-6


class Clock(StrEnum):
    """What a sample's `seconds` are read from."""

    WALL = "wall"
    CPU = "cpu"


class Elapsed(NamedTuple):
    """What some calls took, in seconds.

    Attributes:
        wall: On the wall.
        cpu: For which the calling thread had a core; None where the device does not tell.
    """

    wall: float
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The clock that decides, and why."""

    clock: Clock
    reason: str

    def read(self, elapsed: Elapsed) -> float:
        """Return the seconds by the clock that was chosen."""
        return elapsed.wall if self.clock is Clock.WALL or elapsed.cpu is None else elapsed.cpu


def choose(trials: Sequence[Elapsed], *, threaded: bool, waited: bool) -> Choice:
    """Return the clock for kernels that took `trials`.

    CPU time leaves out the time in which another process had the core, and so errs two to six times less on a busy
    machine. It says nothing of a kernel that waits, or that other threads work for.

    Args:
        trials: Calls of each kernel.
        threaded: Whether a kernel runs on several threads.
        waited: Whether the thread gave its core away by itself during the calls.
    """
    if threaded:
        return Choice(Clock.WALL, "the kernel runs on several threads")
    if any(elapsed.cpu is None for elapsed in trials):
        return Choice(Clock.WALL, "the device tells no CPU time")
    if waited:
        return Choice(Clock.WALL, "the kernel gives its core away while it runs")
    if time.clock_getres(time.CLOCK_THREAD_CPUTIME_ID) > _COARSE_SECONDS or any(not one.cpu for one in trials):
        return Choice(Clock.WALL, "the clock of CPU time is too coarse")
    return Choice(Clock.CPU, "one thread that never waits: what others did on its core does not count")


def voluntary_switches() -> int:
    """Return how often this thread has given its core away by itself."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
