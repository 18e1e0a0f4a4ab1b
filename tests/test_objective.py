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


def test_limits_may_be_lower_bounds() -> None:
    objective = Objective(limits=(Limit("top1_agreement", lower=0.99),))
    assert math.isfinite(objective.score(trial(resources={"top1_agreement": 0.99}, seconds=(1.0,))))
    assert objective.score(trial(resources={"top1_agreement": 0.98}, seconds=(1.0,))) == math.inf
    assert objective.score(trial(resources={"top1_agreement": math.nan}, seconds=(1.0,))) == math.inf
    with pytest.raises(TunerError, match="needs an upper or a lower bound"):
        Limit("top1_agreement")


def test_a_rate_that_is_higher_is_a_gain() -> None:
    objective = Objective("goodput_per_second", Direction.MAXIMIZE)
    better = trial(goodput_per_second=(20.0, 40.0, 10.0), reference_goodput_per_second=(10.0, 20.0, 5.0))
    assert objective.gains(better.measurement) == pytest.approx([math.log(2)] * 3)
    assert objective.score(better) == pytest.approx(0.5)
    assert Objective("goodput_per_second").score(better) == pytest.approx(2.0)


def test_windows_without_anything_good_do_not_break_ratios() -> None:
    objective = Objective("goodput_per_second", Direction.MAXIMIZE)
    measurement = trial(goodput_per_second=(8.0, 0.0, 8.0), reference_goodput_per_second=(0.0, 0.0, 4.0)).measurement
    assert objective.gains(measurement) == pytest.approx([math.log(4), 0.0, math.log(2)])
    nothing = trial(goodput_per_second=(0.0, 0.0), reference_goodput_per_second=(1.0, 1.0))
    assert objective.score(nothing) == math.inf


def test_percentiles_of_requests_are_paired_by_their_windows() -> None:
    objective = Objective("ttft_seconds", statistic=Statistic.P99)
    requests = (1.0, 2.0, 3.0)
    windowed = trial(ttft_seconds=requests, ttft_seconds_p99=(2.0, 3.0), reference_ttft_seconds_p99=(4.0, 3.0))
    assert objective.pairs(windowed.measurement) == ([2.0, 3.0], [4.0, 3.0])
    assert objective.gains(windowed.measurement) == pytest.approx([math.log(2), 0.0])
    assert objective.value(windowed.measurement, reference=True) == 3.5
    assert objective.value(windowed.measurement) == pytest.approx(2.98)
    # Without windows nothing tells which requests belong together.
    loose = trial(ttft_seconds=(1.0, 2.0, 2.0), reference_ttft_seconds=(4.0, 8.0)).measurement
    assert Objective("ttft_seconds").pairs(loose) == ([2.0], [6.0])
    assert not objective.is_paired(trial(ttft_seconds=requests).measurement)


def test_cost_follows_from_the_price_the_rate_and_the_devices() -> None:
    objective = Objective("cost_per_million_tokens", price_per_hour=7.2)
    one = Trial(
        Config(),
        Measurement(
            Status.CORRECT,
            {"output_tokens_per_second": (1000.0,), "reference_output_tokens_per_second": (250.0,)},
            resources={"devices": 2, "reference_devices": 1},
        ),
    )
    assert objective.value(one.measurement) == pytest.approx(4.0)
    assert objective.value(one.measurement, reference=True) == pytest.approx(8.0)
    assert objective.score(one) == pytest.approx(0.5)
    with pytest.raises(TunerError, match="give a price of an hour"):
        Objective("cost_per_million_tokens").score(one)


def test_energy_and_processor_time_follow_from_tokens() -> None:
    measurement = trial(joules=(10.0, 20.0), cpu_seconds=(1.0, 1.0), output_tokens=(5.0, 4.0)).measurement
    assert Objective("joules_per_token").value(measurement) == pytest.approx(3.5)
    assert Objective("cpu_seconds_per_token").value(measurement) == pytest.approx(0.225)


def test_an_objective_that_is_not_measured_is_refused_before_it_is_searched_for() -> None:
    measurement = trial(seconds=(1.0,)).measurement
    with pytest.raises(TunerError, match="no samples of 'goodput_per_second'; it has: seconds"):
        Objective(beside=(Objective("goodput_per_second"),)).check(measurement)


def test_a_mistyped_metric_is_asked_about() -> None:
    measurement = trial(resources={"kl_logits": 0.1}, goodput_per_second=(1.0,)).measurement
    with pytest.raises(TunerError, match=r"\(did you mean 'goodput_per_second'\?\)"):
        Objective("good_put_per_second").check(measurement)
    with pytest.raises(TunerError, match=r"\(did you mean 'kl_logits'\?\); limit one of"):
        Objective("goodput_per_second", limits=(Limit("kl_logit", 1.0),)).check(measurement)


def test_limits_of_any_objective_of_a_front_count() -> None:
    objective = Objective("seconds", beside=(Objective("joules", limits=(Limit("joules", 1.0),)),))
    assert objective.score(trial(seconds=(1.0,), joules=(2.0,))) == math.inf
    assert math.isfinite(objective.score(trial(seconds=(1.0,), joules=(0.5,))))
