"""Interleaved timing that ends when enough is known.

Every round calls each kernel once, in alternating order, so that noise falls on all alike. Rounds come in blocks; after
each it is decided who goes on. The first kernel, the reference, is also the canary: a block in which it took another
time than before was disturbed, and is repeated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from tuner.kernels.clock import Clock, Elapsed, choose, voluntary_switches
from tuner.kernels.conditions import Conditions, CpuConditions
from tuner.statistics import is_above, log_ratios, median, median_error, median_interval
from tuner.types import Cache, Sampling, Scalar

__all__ = ["Sample", "Stopped", "Timed", "Timing", "interleave", "joined", "spread_over_loads"]

# A sample shorter than this is several calls, or the clock and the caches decide it.
_SHORTEST_SAMPLE_SECONDS = 100e-6
# However slow a config is, a median needs some pairs.
_FEWEST_ROUNDS = 3
# Rounds between decisions: the fewest after which a clear loser is known.
_BLOCK_ROUNDS = 5
# A block was disturbed if the reference's median moved by more than both of these: a share of itself, and so many
# standard errors of a block's median.
_DISTURBED_SHARE = 0.1
_DISTURBED_ERRORS = 4.0
# So many disturbed blocks in a row are no disturbance: the machine has another speed now, which pairs do not mind.
_SETTLED_BLOCKS = 3


A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)


class Timed(Protocol[A_contra]):
    """What can be timed, with arguments of its own kind; see `tuner.kernels.base.Launcher`."""

    def call(self, arguments: A_contra) -> None:
        """Run once."""

    def time(self, arguments: A_contra, calls: int) -> Elapsed:
        """Return what `calls` consecutive calls took."""

    def evict(self, arguments: A_contra) -> None:
        """Throw the arguments out of all caches."""


class Stopped(StrEnum):
    """Why no more was sampled."""

    PRECISE = "precise"
    SLOWER = "slower"
    ROUNDS = "rounds"
    SECONDS = "seconds"


@dataclass(frozen=True, slots=True)
class Timing:
    """What timing one kernel gave: samples by metric, and under which conditions they were taken."""

    samples: Mapping[str, tuple[float, ...]]
    resources: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Sample:
    """How long one sample is, at least.

    Attributes:
        seconds: Shorter, and the clock and the caches decide it.
        calls: So many calls, however long each takes.
    """

    seconds: float = _SHORTEST_SAMPLE_SECONDS
    calls: int = 1


def interleave(
    launchers: Sequence[Timed[A]],
    arguments: A,
    sampling: Sampling,
    *,
    cold: bool = False,
    threaded: bool = False,
    sample: Sample = Sample(),
    conditions: Conditions | None = None,
) -> list[Timing]:
    """Return the samples of each launcher, by round: `seconds` is the time of one call in each.

    Two alternate (AB, BA, ...), more are shuffled in each round: nobody always runs with the caches that one of the
    others left, and all follow themselves equally often. All but the first, which is the reference, carry its samples
    of their rounds. One that is clearly slower than the incumbent, or than the best of the others, is not sampled any
    longer; all end when each ratio is known precisely enough, after the rounds, or after the time.

    Args:
        launchers: What to time; each has been called at least once.
        arguments: The arrays that all are called with.
        sampling: When enough has been sampled, and the seed of the shuffle.
        cold: Whether the arguments are thrown out of the caches before each sample, which then is one call. Otherwise
            they are as warm as a call just before leaves them, and a sample is as many calls as reach 100 microseconds.
        threaded: Whether one of the kernels runs on several threads.
        sample: How long a sample is where the caches stay warm.
        conditions: What tells of the device, and of blocks of rounds that it disturbed; the CPU's by default.
    """
    if not launchers:
        return []
    shortest = Sample(0.0, 1) if cold else sample
    return _Session(launchers, arguments, sampling, shortest, conditions or CpuConditions(), cold, threaded).run()


def joined(loads: Sequence[Timing]) -> Timing:
    """Return the timings of several loads of one kernel as one, whose metric `load` numbers the load of each sample.

    Example:
        >>> dict(joined([Timing({"seconds": (1.0, 2.0)}, {}), Timing({"seconds": (3.0,)}, {})]).samples)
        {'seconds': (1.0, 2.0, 3.0), 'load': (0.0, 0.0, 1.0)}
    """
    # What one load could not measure, such as CPU time, is left out of all.
    names = [name for name in loads[0].samples if all(name in load.samples for load in loads)]
    samples = {name: tuple(value for load in loads for value in load.samples[name]) for name in names}
    samples["load"] = tuple(float(i) for i, load in enumerate(loads) for _ in load.samples["seconds"])
    resources = dict(loads[-1].resources)
    discarded = [load.resources.get("discarded_rounds", 0) for load in loads]
    if any(discarded):
        resources["discarded_rounds"] = sum(int(count) for count in discarded)
    return Timing(samples, resources)


def spread_over_loads(sampling: Sampling, timed: Callable[[int, Sampling], list[Timing]]) -> list[Timing]:
    """Return the timings of so many loads as are asked for and there is time for, the rounds spread over them.

    Args:
        sampling: How often everything is to be loaded and laid out in memory anew, with how many rounds in all.
        timed: From the number of a load, and its share of the sampling, to its timings; load 0 has been laid out.
    """
    deadline = time.perf_counter() + sampling.seconds
    loads: list[list[Timing]] = []
    while not loads or (len(loads) < sampling.loads and time.perf_counter() < deadline):
        share = replace(
            sampling,
            seed=sampling.seed + len(loads),
            rounds=math.ceil(sampling.rounds / sampling.loads),
            seconds=sampling.seconds / sampling.loads,
        )
        loads.append(timed(len(loads), share))
    # One load of several tells so, or it would pass for all that was asked for.
    return loads[0] if sampling.loads == 1 else [joined(timings) for timings in zip(*loads, strict=True)]


class _Session(Generic[A]):
    """One interleaved measurement."""

    def __init__(
        self,
        launchers: Sequence[Timed[A]],
        arguments: A,
        sampling: Sampling,
        sample: Sample,
        conditions: Conditions,
        cold: bool,
        threaded: bool,
    ) -> None:
        self._launchers = launchers
        self._arguments = arguments
        self._sampling = sampling
        self._cold = cold
        self._order = np.arange(len(launchers))
        self._rng = np.random.default_rng(sampling.seed)
        self._kept: list[list[Elapsed]] = [[] for _ in launchers]
        self._stopped: dict[int, Stopped] = {}
        self._discarded = 0
        self._canary = _Canary()
        self._conditions = conditions
        self._deadline = math.inf

        switches = voluntary_switches()
        pilots = [min(self._time(i, 1) for _ in range(2)) for i in range(len(launchers))]
        waited = voluntary_switches() > switches
        self._choice = choose(pilots, threaded=threaded, waited=waited)
        once = [max(self._choice.read(pilot), 1e-9) for pilot in pilots]
        self._calls = [max(sample.calls, math.ceil(sample.seconds / seconds)) for seconds in once]

    def run(self) -> list[Timing]:
        """Sample until enough is known of everyone."""
        self._deadline = time.perf_counter() + self._sampling.seconds
        why = Stopped.ROUNDS
        while (left := self._sampling.rounds - len(self._kept[0])) > 0:
            block = self._block(min(left, _BLOCK_ROUNDS))
            late = time.perf_counter() > self._deadline
            reference = [self._choice.read(elapsed) for elapsed in block[0]]
            # A disturbed block is repeated as long as there is time, and as often as there are rounds.
            repeatable = not late and self._discarded < self._sampling.rounds
            if repeatable and (self._conditions.disturbed() or self._canary.disturbed(reference)):
                self._discarded += len(reference)
                continue
            for i, samples in block.items():
                self._kept[i] += samples
            if late:
                why = Stopped.SECONDS
                break
            self._drop_slower()
            if self._precise():
                why = Stopped.PRECISE
                break
            if len(self._launchers) > 1 and not self._racing():
                break
        return self._timings(why)

    def _block(self, rounds: int) -> dict[int, list[Elapsed]]:
        """Return the samples of some rounds, of those who are still sampled."""
        block: dict[int, list[Elapsed]] = {i: [] for i in (0, *self._racing())}
        for _ in range(rounds):
            done = len(self._kept[0]) + len(block[0])
            if done >= _FEWEST_ROUNDS and time.perf_counter() > self._deadline:
                break
            self._order = self._order[::-1] if len(self._order) <= 2 else self._rng.permutation(self._order)
            for i in self._order.tolist():
                if i in block:
                    calls = self._calls[i]
                    wall, cpu = self._time(i, calls)
                    block[i].append(Elapsed(wall / calls, None if cpu is None else cpu / calls))
        return block

    def _time(self, i: int, calls: int) -> Elapsed:
        launcher = self._launchers[i]
        if self._cold:
            launcher.evict(self._arguments)
        else:
            # Every sample follows a call of its own. After another kernel's call caches hold other things, which makes
            # two kinds of samples of one that writes past the caches: their median would jump from one to the other.
            launcher.call(self._arguments)
        return launcher.time(self._arguments, calls)

    def _racing(self) -> list[int]:
        """Return who is sampled beside the reference."""
        return [i for i in range(1, len(self._launchers)) if i not in self._stopped]

    def _drop_slower(self) -> None:
        incumbent, error = self._sampling.incumbent, self._sampling.error
        if incumbent is None:
            return
        logs = {i: self._logs(i) for i in self._racing()}
        best = min(logs, key=lambda i: float(np.median(logs[i])), default=None)
        for i, own in logs.items():
            slower = is_above(own.tolist(), math.log(incumbent), error)
            if best is not None and i != best:
                slower = slower or is_above((own - logs[best]).tolist(), 0.0, error)
            if slower:
                self._stopped[i] = Stopped.SLOWER

    def _precise(self) -> bool:
        precision, error = self._sampling.precision, self._sampling.error
        racing = self._racing()
        if precision is None or not racing:
            return False
        return all(median_interval(self._logs(i).tolist(), error).half_width <= precision for i in racing)

    def _logs(self, i: int) -> npt.NDArray[np.float64]:
        """Return the logarithms of a launcher's ratios to the reference."""
        seconds = [self._choice.read(elapsed) for elapsed in self._kept[i]]
        reference = [self._choice.read(elapsed) for elapsed in self._kept[0][: len(seconds)]]
        return log_ratios(seconds, reference)

    def _timings(self, why: Stopped) -> list[Timing]:
        around: dict[str, Scalar] = {
            **self._conditions.seen(),
            "cache": (Cache.COLD if self._cold else Cache.WARM).value,
            "clock": self._choice.clock.value,
            "clock_reason": self._choice.reason,
            "discarded_rounds": self._discarded,
        }
        return [
            Timing(self._samples(i), {**around, "stopped": self._stopped.get(i, why).value})
            for i in range(len(self._launchers))
        ]

    def _samples(self, i: int) -> dict[str, tuple[float, ...]]:
        samples = self._metrics(self._kept[i])
        if i:
            reference = self._metrics(self._kept[0][: len(self._kept[i])])
            samples |= {f"reference_{name}": values for name, values in reference.items()}
        return samples

    def _metrics(self, elapsed: Sequence[Elapsed]) -> dict[str, tuple[float, ...]]:
        metrics = {"seconds": tuple(self._choice.read(one) for one in elapsed)}
        cpu = tuple(one.cpu for one in elapsed if one.cpu is not None)
        if len(cpu) == len(elapsed):
            # Of two clocks, the one that does not decide stands beside.
            other = {Clock.CPU: ("wall_seconds", tuple(one.wall for one in elapsed)), Clock.WALL: ("cpu_seconds", cpu)}
            name, values = other[self._choice.clock]
            metrics[name] = values
        return metrics


class _Canary:
    """Knows the reference's time, and says when it was another."""

    def __init__(self) -> None:
        self._known: list[float] = []
        self._odd: list[float] = []
        self._odd_blocks = 0

    def disturbed(self, block: Sequence[float]) -> bool:
        """Return whether the reference's times of a block are not what they were; if they are, they are learned."""
        if self._known and abs(math.log(median(block) / median(self._known))) > self._tolerance(len(block)):
            self._odd += block
            self._odd_blocks += 1
            if self._odd_blocks < _SETTLED_BLOCKS:
                return True
            self._known = self._odd
        else:
            self._known += block
        self._odd, self._odd_blocks = [], 0
        return False

    def _tolerance(self, count: int) -> float:
        error = median_error(np.log(self._known).tolist()) * math.sqrt(len(self._known) / count)
        return max(_DISTURBED_SHARE, _DISTURBED_ERRORS * error)
