from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tuner.objective import Objective
from tuner.schedule import LOOK_AHEAD, WARM_UP, Curve, Prospect, Reason, Rules, Schedule, Stop, next_turn, why_stopped
from tuner.types import Config, Measurement, Status, Trial

TIRED = [1.0] + [0.5] * 39
FALLING = [1.0 - i / 50 for i in range(40)]


def trial(score: float, *, default_seconds: float = 1.0, noise: Sequence[float] = (0.0,) * 5) -> Trial:
    samples = {
        "seconds": tuple(score * default_seconds * math.exp(error) for error in noise),
        "reference_seconds": (default_seconds,) * len(noise),
    }
    return Trial(Config(S=score), Measurement(Status.CORRECT, samples))


def curve_of(scores: Sequence[float], *, default_seconds: float = 1.0) -> Curve:
    curve = Curve(Objective())
    for score in scores:
        curve.add(trial(score, default_seconds=default_seconds))
    return curve


def prospect(scores: Sequence[float], *, default_seconds: float = 1.0, use: float = 1.0) -> Prospect:
    return Prospect(curve_of(scores, default_seconds=default_seconds), len(scores), use)


def turn_of(*prospects: Prospect, trials: int = 1000, **rules: object) -> int | None:
    turn = next_turn(prospects, replace(Rules(trials), **rules))  # type: ignore[arg-type]
    return turn.position if turn else None


def test_a_curve_keeps_the_best_and_skips_failures() -> None:
    curve = curve_of([1.0, 0.5, 0.8], default_seconds=4.0)
    curve.add(Trial(Config(S=0), Measurement(Status.COMPILE)))
    assert len(curve) == 4
    assert curve.config == Config(S=0.5)
    assert curve.best_absolute == pytest.approx(2.0)
    assert curve.gain == pytest.approx(0.5)


def test_a_noisy_minimum_is_seldom_a_gain() -> None:
    """A hundred configs as fast as the default, whose least score is well below 1 by luck alone."""
    gains = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        curve, least = Curve(Objective()), 1.0
        for _ in range(100):
            one = trial(1.0, noise=rng.normal(0, 0.1, 15).tolist())
            curve.add(one)
            least = min(least, Objective().score(one))
        assert least < 0.95
        gains += curve.gain > 0
    assert gains <= 2


def test_luck_is_no_lead_and_what_is_clearly_faster_is_one() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        curve, least = Curve(Objective()), 1.0
        for _ in range(100):
            one = trial(1.0, noise=rng.normal(0, 0.1, 15).tolist())
            curve.add(one)
            least = min(least, Objective().score(one))
        assert least < 0.95
        assert curve.lead < 0.03
        faster = trial(0.5, noise=rng.normal(0, 0.1, 15).tolist())
        curve.add(faster)
        assert curve.leader == faster.config
        assert 0.4 < curve.lead < math.log(2)


def test_small_gains_add_up() -> None:
    assert curve_of([0.99**i for i in range(30)]).gain > 0.2


def test_each_task_is_warmed_up_first_one_after_another() -> None:
    fresh = Prospect(Curve(Objective()), 0)
    part = prospect([1.0] * (WARM_UP - 1))
    turn = next_turn([part, fresh], Rules(100))
    assert turn is not None
    assert (turn.position, turn.reason) == (0, Reason.WARM_UP)
    assert turn_of(prospect(FALLING), fresh) == 1
    assert turn_of(prospect([1.0] * 3), prospect([1.0] * 2), trials=3) == 1


def test_the_task_that_gained_of_late_goes_on() -> None:
    assert turn_of(prospect(TIRED), prospect(FALLING)) == 1
    assert turn_of(prospect(FALLING), prospect(TIRED)) == 0


def test_gain_counts_by_use_and_by_seconds() -> None:
    assert turn_of(prospect(TIRED), prospect(TIRED, use=2)) == 1
    assert turn_of(prospect(TIRED), prospect(TIRED, default_seconds=2)) == 1
    assert turn_of(prospect(TIRED, use=4), prospect(TIRED, default_seconds=2)) == 0


def test_a_task_with_many_trials_is_expected_to_gain_less() -> None:
    few, many = prospect([1.0] * 20), prospect([1.0] * 200)
    assert few.expected(LOOK_AHEAD) > 10 * many.expected(LOOK_AHEAD) > 0
    assert turn_of(many, few) == 1


def test_what_is_in_flight_counts_as_given() -> None:
    waiting = replace(prospect(TIRED), proposed=60)
    assert turn_of(waiting, prospect(TIRED)) == 1


def test_a_lead_of_a_nearby_workload_is_expected_in_part() -> None:
    behind = replace(prospect(TIRED), lead=math.log(2))
    assert prospect(TIRED).expected(1) < behind.expected(1) < 0.5
    turn = next_turn([prospect(TIRED), behind], Rules(100))
    assert turn is not None
    assert (turn.position, turn.reason) == (1, Reason.NEARBY)


def test_the_budget_is_the_mean_and_is_shared() -> None:
    prospects = prospect(FALLING), prospect([1.0] * 10)
    assert turn_of(*prospects, trials=26) is not None
    assert turn_of(*prospects, trials=25) is None
    assert why_stopped(prospects, 1, Rules(25)) is Stop.TRIALS


def test_each_task_may_have_its_own_budget_in_order() -> None:
    prospects = prospect([1.0] * 20), prospect(FALLING[:10]), prospect(FALLING[:10])
    assert turn_of(*prospects, trials=20, schedule=Schedule.EACH) == 1
    assert turn_of(prospects[0], trials=20, schedule=Schedule.EACH) is None
    assert why_stopped(prospects, 0, Rules(20, schedule=Schedule.EACH)) is Stop.TRIALS


def unusable(count: int) -> Prospect:
    curve = Curve(Objective())
    for number in range(count):
        curve.add(Trial(Config(X=number), Measurement(Status.RUNTIME)))
    return Prospect(curve, count)


def test_a_task_without_a_usable_trial_takes_no_more_than_its_share() -> None:
    assert turn_of(unusable(29), prospect(FALLING[:10]), trials=30) == 0
    assert turn_of(unusable(30), prospect(FALLING[:10]), trials=30) == 1
    assert turn_of(unusable(30), trials=30) is None
    assert why_stopped([unusable(30), prospect(FALLING[:10])], 0, Rules(30)) is Stop.TRIALS
    # Once one was usable it takes part like all others.
    found = Prospect(curve_of([1.0]), 31)
    assert turn_of(found, prospect(TIRED), trials=40) is not None
    assert not Rules(30).used_up([found, prospect(FALLING[:10])], 0)


def test_of_a_task_without_a_usable_trial_ever_less_is_expected() -> None:
    expected = [unusable(count).expected(LOOK_AHEAD) for count in (0, 8, 40, 200)]
    assert expected[0] == 1
    assert expected == sorted(expected, reverse=True)
    assert expected[-1] < 0.01
    assert turn_of(unusable(40), trials=1000, patience=0.05) is None


def test_without_patience_for_small_gains_a_task_rests() -> None:
    prospects = prospect(TIRED), prospect(FALLING)
    small = prospects[0].expected(LOOK_AHEAD)
    assert turn_of(prospects[0], patience=small * 0.9) == 0
    assert turn_of(prospects[0], patience=small * 1.1) is None
    assert turn_of(replace(prospects[0], use=1e9), prospects[1], patience=small * 1.1) == 1
    assert why_stopped(prospects, 0, Rules(100, patience=small * 1.1)) is Stop.PATIENCE
    assert why_stopped(prospects, 1, Rules(100, patience=small * 1.1)) is Stop.SECONDS


def test_a_task_that_has_no_more_gets_no_turn() -> None:
    closed = replace(prospect(FALLING), open=False)
    assert turn_of(closed, prospect(TIRED)) == 1
    assert turn_of(closed) is None
    assert why_stopped([closed], 0, Rules(100)) is Stop.SPACE
