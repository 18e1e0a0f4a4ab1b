from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from tuner.campaign import task_of
from tuner.errors import StoreError
from tuner.runners import Activity, Recorder
from tuner.types import Config, Measurement, Sampling, Status, Task, Trial

TASK = task_of("tuner.testing.toys:PARABOLA", {"N": 1})


class Waiting:
    """Hands out futures and leaves them to the test."""

    capacity = 9
    activity = Activity()

    def __init__(self) -> None:
        self.asked: list[tuple[Config, Sampling, Future[Measurement]]] = []

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        future: Future[Measurement] = Future()
        self.asked.append((config, sampling, future))
        return future

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        raise NotImplementedError

    def close(self) -> None:
        pass


DONE = Measurement(Status.CORRECT, {"seconds": (1.0,)})


def test_a_config_in_flight_is_joined_and_a_finished_one_is_answered() -> None:
    runner, kept = Waiting(), list[Trial]()
    recorder = Recorder(runner, TASK, campaign="c", seed=0, record=kept.append)
    first, second = recorder.submit(Config(X=1)), recorder.submit(Config(X=1))
    runner.asked[0][2].set_result(DONE)
    third = recorder.submit(Config(X=1))
    assert first.result() is second.result() is third.result()
    assert len(runner.asked) == len(kept) == 1


def test_numbers_follow_the_order_of_submission() -> None:
    runner, kept = Waiting(), list[Trial]()
    recorder = Recorder(runner, TASK, campaign="c", seed=0, record=kept.append)
    trials = [recorder.submit(Config(X=x)) for x in (5, 3, 9)]
    for _, _, future in reversed(runner.asked):
        future.set_result(DONE)
    assert [trial.result().number for trial in trials] == [0, 1, 2]
    assert [trial.number for trial in kept] == [2, 1, 0]


def test_what_was_measured_before_is_not_measured_again() -> None:
    runner = Waiting()
    old = Trial(Config(X=1), DONE, "c", 7)
    recorder = Recorder(runner, TASK, campaign="c", seed=0, trials=[old])
    assert recorder.submit(Config(X=1)).result() is old
    new = recorder.submit(Config(X=2))
    runner.asked[0][2].set_result(DONE)
    assert new.result().number == 8


def test_every_trial_has_inputs_of_its_own_that_the_seed_decides() -> None:
    seeds = []
    for seed in (0, 0, 1):
        runner = Waiting()
        recorder = Recorder(runner, TASK, campaign="c", seed=seed)
        for x in range(3):
            recorder.submit(Config(X=x))
        seeds.append([sampling.seed for _, sampling, _ in runner.asked])
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == 6


def test_a_record_that_fails_reaches_who_waits() -> None:
    def full(_: Trial) -> None:
        raise StoreError("disk full")

    runner = Waiting()
    trial = Recorder(runner, TASK, campaign="c", seed=0, record=full).submit(Config(X=1))
    runner.asked[0][2].set_result(DONE)
    with pytest.raises(StoreError, match="disk full"):
        trial.result(timeout=1)


def test_a_runner_that_breaks_reaches_who_waits() -> None:
    runner = Waiting()
    trial = Recorder(runner, TASK, campaign="c", seed=0).submit(Config(X=1))
    runner.asked[0][2].set_exception(RuntimeError("no disk"))
    with pytest.raises(RuntimeError, match="no disk"):
        trial.result(timeout=1)
