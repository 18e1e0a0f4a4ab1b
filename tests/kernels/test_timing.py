from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import pytest

from tuner.kernels.check import Arguments
from tuner.kernels.clock import Elapsed
from tuner.kernels.timing import Timing, interleave
from tuner.types import Sampling

ARGUMENTS = Arguments({}, {})
# Calls that find out how long one takes.
PILOTS = 2
Seconds = Mapping[str, float | Callable[[int], float]]


class Scripted:
    """Claims to take `seconds(sample)` a call, and writes down when it was asked."""

    def __init__(
        self,
        name: str,
        seconds: float | Callable[[int], float],
        log: list[tuple[str, int]],
        *,
        cpu_share: float | None = None,
    ) -> None:
        self._name = name
        self._seconds = seconds
        self._log = log
        self._cpu_share = cpu_share
        self._samples = -PILOTS

    def call(self, arguments: Arguments) -> None:
        self._log.append((f"warm {self._name}", 0))

    def time(self, arguments: Arguments, calls: int) -> Elapsed:
        self._log.append((self._name, calls))
        one = self._seconds if isinstance(self._seconds, float) else self._seconds(max(self._samples, 0))
        self._samples += 1
        return Elapsed(one * calls, None if self._cpu_share is None else one * calls * self._cpu_share)

    def evict(self, arguments: Arguments) -> None:
        self._log.append((f"evict {self._name}", 0))


def timed(seconds: Seconds, sampling: Sampling, *, cold: bool = False) -> tuple[list[Timing], list[tuple[str, int]]]:
    log: list[tuple[str, int]] = []
    timings = interleave([Scripted(name, s, log) for name, s in seconds.items()], ARGUMENTS, sampling, cold=cold)
    # Each sample, and each pilot, comes with what is done before it.
    log = log[2 * PILOTS * len(seconds) :]
    befores = "evict" if cold else "warm"
    assert all(log[i][0] == f"{befores} {log[i + 1][0]}" for i in range(0, len(log), 2))
    return timings, log[1::2]


def noisy(seconds: float, deviation: float, seed: int) -> Callable[[int], float]:
    """Return times with log-normal noise, the same for the same sample."""
    noise = np.exp(np.random.default_rng(seed).normal(0, deviation, 1000))
    return lambda sample: seconds * float(noise[sample])


def rounds(timing: Timing) -> int:
    return len(timing.samples["seconds"])


def test_two_alternate() -> None:
    _, log = timed({"A": 1e-3, "B": 1e-3}, Sampling(0, 12))
    names = "".join(name for name, _ in log)
    assert names in ("ABBA" * 6, "BAAB" * 6)


def test_of_more_everyone_follows_everyone_and_itself() -> None:
    _, log = timed(dict.fromkeys("ABCD", 1e-3), Sampling(0, 400))
    names = [name for name, _ in log]
    assert all(set(names[i : i + 4]) == set("ABCD") for i in range(0, len(names), 4))
    followed = Counter(pairwise(names))
    assert len(followed) == 16
    assert all(8 < followed[name, name] < 60 for name in "ABCD")


def test_a_short_call_is_repeated_within_a_sample() -> None:
    timings, log = timed({"A": 3e-5, "B": 1e-3}, Sampling(0, 3))
    assert {calls for name, calls in log if name == "A"} == {4}
    assert {calls for name, calls in log if name == "B"} == {1}
    assert timings[0].samples["seconds"] == pytest.approx((3e-5,) * 3)


def test_every_round_gives_one_sample_of_each_beside_the_references() -> None:
    timings, _ = timed({"A": 2e-3, "B": 1e-3, "C": 3e-3}, Sampling(0, 7))
    assert [rounds(timing) for timing in timings] == [7, 7, 7]
    assert "reference_seconds" not in timings[0].samples
    assert [timing.samples["reference_seconds"] for timing in timings[1:]] == [(2e-3,) * 7] * 2
    assert all(timing.resources["stopped"] == "rounds" for timing in timings)


def test_time_ends_the_rounds_but_not_before_the_third() -> None:
    timings, _ = timed({"A": 1e-3, "B": 1e-3}, Sampling(0, 1000, seconds=0.0))
    assert [rounds(timing) for timing in timings] == [3, 3]
    assert timings[1].resources["stopped"] == "seconds"


def test_nothing_to_time() -> None:
    assert interleave([], ARGUMENTS, Sampling(0, 5)) == []


def test_a_clear_loser_costs_five_samples() -> None:
    timings, _ = timed({"A": 1e-3, "B": noisy(2e-3, 0.1, 1)}, Sampling(0, 30, incumbent=1.0))
    assert rounds(timings[1]) == 5
    assert timings[1].resources["stopped"] == "slower"


def test_slower_is_said_of_the_incumbent_not_of_the_reference() -> None:
    seconds: Seconds = {"A": 1e-3, "B": noisy(0.8e-3, 0.01, 1)}
    assert rounds(timed(seconds, Sampling(0, 30, incumbent=0.5))[0][1]) == 5
    assert rounds(timed(seconds, Sampling(0, 30, incumbent=0.9))[0][1]) == 30
    assert rounds(timed(seconds, Sampling(0, 30))[0][1]) == 30


def test_one_that_is_as_fast_as_the_incumbent_is_seldom_dropped() -> None:
    dropped = 0
    for seed in range(200):
        seconds = {"A": noisy(1e-3, 0.02, 2 * seed), "B": noisy(1e-3, 0.02, 2 * seed + 1)}
        timings, _ = timed(seconds, Sampling(0, 60, incumbent=1.0, error=0.05))
        dropped += timings[1].resources["stopped"] == "slower"
    assert dropped <= 0.05 * 200


def test_of_several_the_best_is_the_incumbent_of_the_others() -> None:
    seconds: Seconds = {
        "A": 1e-3,
        "B": noisy(0.5e-3, 0.02, 1),
        "C": noisy(0.8e-3, 0.02, 2),
        "D": noisy(0.501e-3, 0.02, 3),
    }
    timings, _ = timed(seconds, Sampling(0, 40, incumbent=1.0, error=0.01))
    assert [timing.resources["stopped"] for timing in timings[1:]] == ["rounds", "slower", "rounds"]
    assert rounds(timings[2]) < 15
    # What was dropped keeps the reference's samples of its own rounds.
    assert timings[2].samples["reference_seconds"] == timings[0].samples["seconds"][: rounds(timings[2])]


def test_sampling_ends_when_the_ratio_is_known() -> None:
    quiet, _ = timed({"A": 1e-3, "B": noisy(1e-3, 0.002, 1)}, Sampling(0, 60, precision=0.01))
    loud, _ = timed({"A": 1e-3, "B": noisy(1e-3, 0.2, 1)}, Sampling(0, 60, precision=0.01))
    assert rounds(quiet[1]) == 10
    assert quiet[1].resources["stopped"] == "precise"
    assert rounds(loud[1]) == 60


def test_a_disturbed_block_is_repeated() -> None:
    """From the eleventh to the fifteenth sample something else slows the reference, and the other more."""

    def disturbed(by: float) -> Callable[[int], float]:
        return lambda sample: 1e-3 * (by if 10 <= sample < 15 else 1)

    timings, _ = timed({"A": disturbed(1.5), "B": disturbed(3.0)}, Sampling(0, 30))
    assert timings[1].resources["discarded_rounds"] == 5
    assert timings[1].samples["seconds"] == (1e-3,) * 30


def test_a_machine_that_stays_slower_has_settled() -> None:
    def slower(sample: int) -> float:
        return 1e-3 if sample < 10 else 2e-3

    timings, _ = timed({"A": slower, "B": slower}, Sampling(0, 30))
    assert timings[1].resources["discarded_rounds"] == 10
    assert timings[1].samples["seconds"] == (1e-3,) * 10 + (2e-3,) * 20


def test_cold_arguments_are_evicted_before_each_sample_and_warm_ones_called() -> None:
    timings, log = timed({"A": 1e-6, "B": 1e-6}, Sampling(0, 3), cold=True)
    assert [calls for _, calls in log] == [1] * 6
    assert timings[0].resources["cache"] == "cold"


@pytest.mark.parametrize(
    ("cpu_share", "threaded", "clock", "why"),
    [
        (0.5, False, "cpu", "never waits"),
        (0.5, True, "wall", "several threads"),
        (None, False, "wall", "tells no CPU time"),
        (0.0, False, "wall", "too coarse"),
    ],
)
def test_the_clock_that_decides_is_told_with_its_reason(
    cpu_share: float | None, threaded: bool, clock: str, why: str
) -> None:
    launchers = [Scripted(name, 1e-3, [], cpu_share=cpu_share) for name in "AB"]
    timings = interleave(launchers, ARGUMENTS, Sampling(0, 5), threaded=threaded)
    assert timings[1].resources["clock"] == clock
    assert why in str(timings[1].resources["clock_reason"])
    decided = 0.5e-3 if clock == "cpu" else 1e-3
    assert timings[1].samples["seconds"] == (decided,) * 5
    if cpu_share is not None:
        other, value = ("wall_seconds", 1e-3) if clock == "cpu" else ("cpu_seconds", 1e-3 * cpu_share)
        assert timings[1].samples[other] == (value,) * 5
        assert timings[1].samples[f"reference_{other}"] == (value,) * 5


def test_conditions_are_recorded() -> None:
    timings, _ = timed({"A": 1e-3, "B": 1e-3}, Sampling(0, 3))
    assert timings[0].resources["cache"] == "warm"
    assert timings[0].resources["discarded_rounds"] == 0
    assert isinstance(timings[0].resources["load"], float)
