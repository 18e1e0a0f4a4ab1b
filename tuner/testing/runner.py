"""What every runner must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import pytest

from tuner.devices import detect
from tuner.runners import Runner
from tuner.tunable import load, make_task
from tuner.types import Config, Sampling, Status, Task

__all__ = ["RunnerContract"]

_TOY = "tuner.testing.toys:FAULTY"


class RunnerContract(ABC):
    """Subclass it and say how the runner is made; its time limits must be a few seconds, for some configs hang."""

    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls) -> Iterator[Runner]:
        runner = cls.make()
        yield runner
        runner.close()

    @classmethod
    @abstractmethod
    def make(cls) -> Runner:
        """Return a new runner."""

    @pytest.fixture
    def task(self) -> Task:
        tunable = load(_TOY)
        return make_task(_TOY, tunable, tunable.workload({"N": 3}), detect("cpu"))

    def test_measures_in_pairs_with_the_default(self, runner: Runner, task: Task) -> None:
        measurement = runner.submit(task, Config(X=3, FAULT="none"), Sampling(0, 5)).result(timeout=120)
        assert measurement.status is Status.CORRECT
        assert measurement.samples["seconds"] == (0.001,) * 5
        assert measurement.samples["reference_seconds"] == (0.010,) * 5

    @pytest.mark.parametrize(
        ("fault", "status", "error"),
        [
            ("compile", Status.COMPILE, "asked to fail"),
            ("build_crash", Status.COMPILE, "SIGABRT"),
            ("build_hang", Status.TIMEOUT, "seconds"),
            ("crash", Status.RUNTIME, "SIGABRT"),
            ("raise", Status.RUNTIME, "asked to raise"),
            ("hang", Status.TIMEOUT, "seconds"),
            ("wrong", Status.CORRECTNESS, "asked to be wrong"),
        ],
    )
    def test_a_bad_config_is_a_status(self, runner: Runner, task: Task, fault: str, status: Status, error: str) -> None:
        bad = runner.submit(task, Config(X=1, FAULT=fault), Sampling(0, 3)).result(timeout=120)
        assert bad.status is status
        assert error in bad.error
        assert not bad.samples
        good = runner.submit(task, Config(X=2, FAULT="none"), Sampling(0, 3)).result(timeout=120)
        assert good.status is Status.CORRECT

    def test_an_invalid_config_breaks_constraints(self, runner: Runner, task: Task) -> None:
        measurement = runner.submit(task, Config(X=99, FAULT="none"), Sampling(0, 3)).result(timeout=120)
        assert measurement.status is Status.CONSTRAINTS
        assert "99" in measurement.error

    def test_many_submissions_all_end(self, runner: Runner, task: Task) -> None:
        futures = [runner.submit(task, Config(X=x, FAULT="none"), Sampling(x, 2)) for x in range(16)]
        seconds = [future.result(timeout=120).samples["seconds"][0] for future in futures]
        assert seconds == [1e-3 * (1 + (x - 3) ** 2) for x in range(16)]

    def test_compares_in_the_order_given(self, runner: Runner, task: Task) -> None:
        configs = [Config(X=x, FAULT="none") for x in (0, 3, 5)]
        results = runner.compare(task, configs, Sampling(0, 4)).result(timeout=120)
        assert [result.samples["seconds"][0] for result in results] == [0.010, 0.001, 0.005]
        assert all(result.samples["reference_seconds"] == (0.010,) * 4 for result in results[1:])

    def test_has_capacity_and_tells_what_it_did(self, runner: Runner) -> None:
        assert runner.capacity >= 1
        assert runner.activity.builds_waiting == 0
