from __future__ import annotations

import math

import pytest

from tuner.errors import TunerError
from tuner.objective import Direction, Limit, Objective, Statistic
from tuner.types import Config, Measurement, Status, Trial


def trial(
    status: Status = Status.CORRECT, resources: dict[str, float] | None = None, **samples: tuple[float, ...]
) -> Trial:
    return Trial(Config(), Measurement(status, samples, resources=resources or {}))


def test_paired_samples_score_relative_to_the_reference() -> None:
    assert Objective().score(trial(seconds=(1.0, 10.0), reference_seconds=(2.0, 20.0))) == pytest.approx(0.5)


def test_unpaired_samples_score_as_their_median() -> None:
    assert Objective().score(trial(seconds=(1.0, 10.0, 2.0))) == 2


def test_a_metric_to_be_maximised_scores_lower_when_higher() -> None:
    objective = Objective("goodput", Direction.MAXIMIZE)
    assert 0 < objective.score(trial(goodput=(10.0,))) < objective.score(trial(goodput=(5.0,)))
    assert objective.score(trial(goodput=(0.0,))) == math.inf


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.CORRECT])
def test_a_failed_trial_is_unusable(status: Status) -> None:
    assert Objective().score(trial(status, seconds=(1.0,))) == math.inf


@pytest.mark.parametrize(
    ("statistic", "upper", "usable"),
    [
        (Statistic.MEDIAN, 2.0, True),
        (Statistic.MEDIAN, 1.9, False),
        (Statistic.MAX, 9.9, False),
        (Statistic.MAX, 10.0, True),
        (Statistic.P99, 9.0, False),
        (Statistic.P90, 9.0, True),
    ],
)
def test_limits_read_samples(statistic: Statistic, upper: float, usable: bool) -> None:
    objective = Objective(limits=(Limit("ttft_seconds", upper, statistic),))
    score = objective.score(trial(seconds=(1.0,), ttft_seconds=(1.0, 2.0, 10.0)))
    assert math.isfinite(score) is usable


def test_a_limit_on_what_is_not_measured_is_refused() -> None:
    measurement = trial(resources={"code_bytes": 10}, seconds=(1.0,)).measurement
    Objective(limits=(Limit("seconds", 0.1), Limit("code_bytes", 1))).check(measurement)
    with pytest.raises(TunerError, match=r"'bytes' can never be kept.*; limit one of: seconds, code_bytes$"):
        Objective(limits=(Limit("bytes", 1),)).check(measurement)


def test_limits_read_resources() -> None:
    objective = Objective(limits=(Limit("rel_error", 1e-3),))
    assert math.isfinite(objective.score(trial(resources={"rel_error": 1e-4}, seconds=(1.0,))))
    assert objective.score(trial(resources={"rel_error": 1e-2}, seconds=(1.0,))) == math.inf
    assert objective.score(trial(seconds=(1.0,))) == math.inf


def test_a_correct_trial_without_the_metric_is_a_bug_of_the_tunable() -> None:
    with pytest.raises(TunerError, match="'seconds'; it has: joules"):
        Objective().score(trial(joules=(1.0,)))
