"""What pruning saves of a device's time."""

from __future__ import annotations

from tuner.campaign import task_of
from tuner.objective import Objective
from tuner.result import Result
from tuner.types import Config, Measurement, Status, Trial

TASK = task_of("tuner.testing.toys:PARABOLA", {"N": 3})


def trial(number: int, status: Status, seconds: float = 0.0) -> Trial:
    samples = {"seconds": (1.0,), "reference_seconds": (1.0,)} if status is Status.CORRECT else {}
    return Trial(
        Config(X=number, FAULT="none"), Measurement(status, samples, measure_seconds=seconds, error="x"), number=number
    )


def result(*trials: Trial) -> Result:
    return Result.of(TASK, Config(X=0, FAULT="none"), trials, None, Objective())


def test_each_pruned_trial_saves_what_one_takes() -> None:
    measured = [trial(0, Status.CORRECT, 0.2), trial(1, Status.CORRECT, 0.4), trial(2, Status.CORRECT, 9.0)]
    pruned = [trial(3, Status.CONSTRAINTS), trial(4, Status.CONSTRAINTS), trial(5, Status.COMPILE)]
    found = result(*measured, *pruned)
    assert found.saved_device_seconds == 0.8
    assert Result.from_json(TASK, found.to_json()).saved_device_seconds == 0.8


def test_where_nothing_is_pruned_or_measured_nothing_is_saved() -> None:
    assert result(trial(0, Status.CORRECT, 0.2)).saved_device_seconds == 0.0
    assert result(trial(0, Status.CONSTRAINTS)).saved_device_seconds == 0.0
