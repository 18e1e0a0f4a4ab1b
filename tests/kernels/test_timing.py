from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tuner.kernels.check import Arguments
from tuner.kernels.timing import interleave
from tuner.types import Sampling

ARGUMENTS = Arguments({}, {})


class Scripted:
    """Claims to take `seconds` a call, and writes down when it was asked."""

    def __init__(self, name: str, seconds: float, log: list[tuple[str, int]]) -> None:
        self._name = name
        self._seconds = seconds
        self._log = log

    def time(self, arguments: Arguments, calls: int) -> float:
        self._log.append((self._name, calls))
        return self._seconds * calls


def timed(seconds: dict[str, float], sampling: Sampling) -> tuple[list[tuple[float, ...]], list[tuple[str, int]]]:
    log: list[tuple[str, int]] = []
    samples = interleave([Scripted(name, s, log) for name, s in seconds.items()], ARGUMENTS, sampling)
    return samples, log[2 * len(seconds) :]


def test_two_alternate() -> None:
    _, log = timed({"A": 1e-3, "B": 1e-3}, Sampling(0, 4))
    names = "".join(name for name, _ in log)
    assert names in ("ABBAABBA", "BAABBAAB")


def test_of_more_everyone_follows_everyone_and_itself() -> None:
    _, log = timed(dict.fromkeys("ABCD", 1e-3), Sampling(0, 400))
    names = [name for name, _ in log]
    assert all(set(names[i : i + 4]) == set("ABCD") for i in range(0, len(names), 4))
    followed = Counter(pairwise(names))
    assert len(followed) == 16
    assert all(8 < followed[name, name] < 60 for name in "ABCD")


def test_a_short_call_is_repeated_within_a_sample() -> None:
    samples, log = timed({"A": 3e-5, "B": 1e-3}, Sampling(0, 3))
    assert {calls for name, calls in log if name == "A"} == {4}
    assert {calls for name, calls in log if name == "B"} == {1}
    assert samples[0] == pytest.approx((3e-5,) * 3)


def test_every_round_gives_one_sample_of_each() -> None:
    samples, _ = timed(dict.fromkeys("ABC", 1e-3), Sampling(0, 7))
    assert [len(one) for one in samples] == [7, 7, 7]


def test_time_ends_the_rounds_but_not_before_the_third() -> None:
    samples, _ = timed({"A": 1e-3, "B": 1e-3}, Sampling(0, 1000, seconds=0.0))
    assert [len(one) for one in samples] == [3, 3]


def test_nothing_to_time() -> None:
    assert interleave([], ARGUMENTS, Sampling(0, 5)) == []
