from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import pytest

from tuner.calibration import calibrate
from tuner.devices import detect
from tuner.errors import TunerError
from tuner.runners import Activity
from tuner.types import Config, Measurement, Sampling, Status, Task, Workload

TASK = Task("tuner.testing.toys:PARABOLA", "1", Workload(N=1), detect("cpu"))


class Noisy:
    """Measures every config as one millisecond with noise, and the second as `bias` times that."""

    capacity = 1
    activity = Activity()

    def __init__(self, noise: float, bias: float = 1.0, most: int = 1000) -> None:
        self._noise = noise
        self._bias = bias
        self._most = most
        self.compared: list[Sequence[Config]] = []

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        raise NotImplementedError

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        self.compared.append(configs)
        rng = np.random.default_rng(sampling.seed)
        first, second = 1e-3 * np.exp(rng.normal(0, self._noise, (2, min(sampling.rounds, self._most))))
        samples = {"seconds": tuple((self._bias * second).tolist()), "reference_seconds": tuple(first.tolist())}
        future: Future[list[Measurement]] = Future()
        future.set_result([Measurement(Status.CORRECT), Measurement(Status.CORRECT, samples)])
        return future

    def close(self) -> None:
        pass


def test_a_config_is_compared_with_itself() -> None:
    runner = Noisy(0.01)
    calibrate(runner, TASK, seconds=1e-9)
    assert len(runner.compared) == 3
    assert all(first == second for first, second in runner.compared)


def test_more_pairs_resolve_more_and_take_longer() -> None:
    found = calibrate(Noisy(0.02), TASK, seconds=0.2)
    pairs, seconds, errors, resolves = zip(
        *((one.pairs, one.seconds, one.error, one.resolves) for one in found.resolutions), strict=True
    )
    assert sorted(pairs) == list(pairs)
    assert seconds == pytest.approx([2e-3 * count for count in pairs], rel=0.05)
    assert errors[0] > errors[2] > errors[-1] > 0
    assert sorted(resolves, reverse=True) == list(resolves)
    assert all(one.resolves is not None and one.resolves > one.error for one in found.resolutions)
    # The median of 150 pairs of two noises of 2 % each errs by 1.25 * 2 % * sqrt(2 / 150) = 0.29 %; twice that at 95 %.
    assert errors[-1] == pytest.approx(2 * 0.0029, rel=0.5)


def test_it_says_how_long_a_difference_takes() -> None:
    found = calibrate(Noisy(0.01), TASK, seconds=0.2)
    assert found.seconds_for(0.5) == found.resolutions[0].seconds
    assert found.seconds_for(1e-6) is None
    middle = found.resolutions[2]
    assert middle.resolves is not None
    assert found.seconds_for(middle.resolves) == middle.seconds


def test_false_differences_are_counted() -> None:
    honest = calibrate(Noisy(0.01), TASK, seconds=0.5)
    biased = calibrate(Noisy(0.01, bias=1.02), TASK, seconds=0.5)
    assert honest.false_differences <= 0.05 * honest.runs
    assert biased.false_differences == biased.runs


def test_a_default_that_fails_is_an_error() -> None:
    class Failing(Noisy):
        def compare(
            self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
        ) -> Future[list[Measurement]]:
            future: Future[list[Measurement]] = Future()
            future.set_result([Measurement(Status.RUNTIME, error="asked to crash")] * 2)
            return future

    with pytest.raises(TunerError, match="asked to crash"):
        calibrate(Failing(0.0), TASK, seconds=1)


@pytest.mark.parametrize(("most", "pairs"), [(70, [15, 30, 60]), (8, [8])])
def test_a_slow_config_is_told_for_the_pairs_that_it_had(most: int, pairs: list[int]) -> None:
    found = calibrate(Noisy(0.01, most=most), TASK, seconds=0.1)
    assert [one.pairs for one in found.resolutions] == pairs
    # Eight pairs have no interval at 99 %.
    assert (found.resolutions[-1].resolves is None) == (most == 8)
    assert found.seconds_for(1e9) == (None if most == 8 else found.resolutions[0].seconds)
