from __future__ import annotations

import pytest

from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.engines import Engine
from tuner.plan import Budget, Plan
from tuner.runners import LocalRunner
from tuner.testing.engine import TOY, EngineContract, ToyEngine, ToyTunable
from tuner.types import Build, Config, Measurement, Sampling, Status, Workload

WORKLOAD = Workload(N=3)
TRIAL = Sampling(0, 30)


def config(batch: int = 0, threads: int = 1, fault: str = "none") -> Config:
    return Config(BATCH=batch, THREADS=threads, FAULT=fault)


def measured(tunable: ToyTunable, *configs: Config, sampling: Sampling = TRIAL) -> list[Measurement]:
    return tunable.measure([Build(one, None) for one in configs], WORKLOAD, sampling)


class TestToyEngine(EngineContract):
    def make(self) -> Engine:
        return ToyEngine(WORKLOAD)

    def configs(self) -> tuple[Config, Config]:
        return config(), config(3, 2)


def test_windows_of_reference_and_challenger_pair() -> None:
    reference, challenger = measured(ToyTunable(), config(), config(3))
    assert reference.samples["seconds"] == (1e-2, 1e-2)
    assert challenger.samples["seconds"] == (1e-3, 1e-3)
    assert challenger.samples["reference_seconds"] == (1e-2, 1e-2)
    assert challenger.samples["reference_request_per_second"] == pytest.approx((100, 100))


def test_samples_of_requests_have_no_pairs() -> None:
    _, challenger = measured(ToyTunable(), config(), config(3))
    assert challenger.samples["e2e_seconds"] == (1e-3, 2e-3) * 2
    assert "reference_e2e_seconds" not in challenger.samples


def test_the_finals_take_more_windows() -> None:
    tunable = ToyTunable()
    final = measured(tunable, config(), config(3), sampling=Sampling(0, 100, thorough=True))
    assert len(final[1].samples["seconds"]) == tunable.final_windows


def test_the_reference_is_started_once_for_all_challengers() -> None:
    tunable = ToyTunable()
    measured(tunable, config(), config(3, 2))
    first, *_ = measured(tunable, config(), config(3, 1), config(4, 1))
    assert (first.resources["starts"], first.resources["applied"]) == (1, "start")


def test_what_changes_at_run_time_shares_a_start() -> None:
    tunable = ToyTunable()
    measured(tunable, config(), config(1, 2))
    _, other = measured(tunable, config(), config(2, 2))
    assert (other.resources["starts"], other.resources["applied"]) == (1, "reconfigure")


def test_with_room_for_one_engine_the_two_take_turns() -> None:
    tunable = ToyTunable()
    tunable.alive = 1
    first, other = measured(tunable, config(), config(3, 2))
    assert other.samples["reference_seconds"] == (1e-2, 1e-2)
    assert (first.resources["starts"], other.resources["starts"]) == (3, 2)


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("start", Status.RUNTIME, "no room for the cache"),
        ("late", Status.TIMEOUT, "not ready after 0 seconds"),
        ("serve", Status.RUNTIME, "the engine ended: out of memory"),
        ("wrong", Status.CORRECTNESS, r"rel_error=0.5 is above 0.01"),
    ],
)
def test_a_failure_is_a_status_with_the_engines_reason(fault: str, status: Status, reason: str) -> None:
    tunable = ToyTunable()
    first, bad, good = measured(tunable, config(), config(3, 2, fault), config(3, 2))
    assert (bad.status, bad.error) == (status, reason)
    assert first.status is good.status is Status.CORRECT


def test_a_reference_that_fails_spoils_all() -> None:
    first, other = measured(ToyTunable(), config(fault="start"), config(3))
    assert first.error == "no room for the cache"
    assert other.error == "the reference config failed: no room for the cache"


def test_a_campaign_finds_the_best_config_and_proves_it() -> None:
    runner = LocalRunner()
    task = task_of("tuner.testing.engine:TOY", dict(WORKLOAD))
    plan = Plan("random", Budget(40), seed=1)
    try:
        [result] = Campaign([task], plan, runner=runner, store=MemoryStore()).run()
    finally:
        runner.close()
    assert result.promoted
    assert result.config == config(3, 2)
    assert result.speedup == pytest.approx(20)


def test_its_measurements_may_take_long() -> None:
    assert TOY.longest_seconds > 60


@pytest.mark.slow
def test_a_campaign_survives_every_fault() -> None:
    runner = LocalRunner()
    task = task_of("tuner.testing.engine:FAULTY", dict(WORKLOAD))
    plan = Plan("random", Budget(60), seed=2)
    store = MemoryStore()
    try:
        campaign = Campaign([task], plan, runner=runner, store=store)
        [result] = campaign.run()
    finally:
        runner.close()
    statuses = {trial.measurement.status for trial in store.trials(campaign.id, task)}
    assert statuses == {Status.CORRECT, Status.RUNTIME, Status.TIMEOUT, Status.CORRECTNESS}
    assert result.promoted


def test_a_trial_ends_when_its_time_is_over_and_a_final_does_not() -> None:
    tunable = ToyTunable()
    tunable.trial_windows = tunable.final_windows = 6
    for thorough, windows in ((False, 2), (True, 6)):
        sampling = Sampling(0, 30, seconds=0.0, thorough=thorough)
        _, other = measured(tunable, config(), config(3), sampling=sampling)
        assert len(other.samples["seconds"]) == len(other.samples["reference_seconds"]) == windows
