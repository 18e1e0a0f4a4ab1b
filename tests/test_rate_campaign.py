"""A campaign that maximises a rate, from the search to the report: more is better everywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore, Store
from tuner.finals import Finals
from tuner.objective import Direction, Limit, Objective, Statistic
from tuner.phrase import parse_objective
from tuner.plan import Budget, Plan
from tuner.report.data import gather
from tuner.report.verdict import details
from tuner.result import Result
from tuner.runners import LocalRunner, Runner
from tuner.types import Config, Evidence, Measurement, Status, Trial

TASK = task_of("tuner.testing.engine:TOY", {"N": 3})
BEST = {"BATCH": 3, "THREADS": 2, "FAULT": "none"}
RATE = Objective("request_per_second", Direction.MAXIMIZE)


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    runner = LocalRunner(builders=1)
    yield runner
    runner.close()


def run(runner: Runner, store: Store, objective: Objective) -> tuple[Campaign, Result]:
    plan = Plan("exhaustive", Budget(16), objective, Finals(rounds=13, loads=13))
    campaign = Campaign([TASK], plan, runner=runner, store=store)
    [result] = campaign.run()
    return campaign, result


def test_the_config_with_the_highest_rate_is_proven(runner: Runner) -> None:
    store = MemoryStore()
    campaign, result = run(runner, store, RATE)
    assert result.promoted
    assert dict(result.config) == BEST
    # The default serves 1000 / (1 + 9) requests a second on one thread, the best 1000 * 2.
    assert result.speedup == pytest.approx(20)
    assert result.metric == "request_per_second"
    assert result.default_value == pytest.approx(100)
    assert result.best_value == pytest.approx(2000)
    assert result.winner is not None
    evidence = result.winner.evidence
    assert evidence.interval[0] == pytest.approx(20)
    assert evidence.metric == "request_per_second"
    assert Objective.from_json(evidence.objective) == RATE
    assert Result.from_json(TASK, result.to_json()) == result
    [task] = gather(store, campaign.id).tasks
    assert task.final is not None
    assert task.final.ratios == pytest.approx([20] * evidence.rounds)
    assert details(task)[0] == "100 /s → 2e+03 /s request_per_second"
    # Found again, it is what a later campaign has to beat.
    assert store.winners(tunable=TASK.tunable)[0].evidence == evidence


def test_a_minimised_rate_goes_the_other_way(runner: Runner) -> None:
    _, result = run(runner, MemoryStore(), Objective("request_per_second"))
    assert result.promoted
    assert dict(result.config) == {"BATCH": 7, "THREADS": 1, "FAULT": "none"}
    assert result.speedup == pytest.approx(1.7)


def test_a_percentile_of_requests_is_proven_over_windows(runner: Runner) -> None:
    _, result = run(runner, MemoryStore(), parse_objective("minimize e2e_p99"))
    assert result.promoted
    assert dict(result.config) == BEST
    assert result.speedup == pytest.approx(20)


def test_a_limit_on_a_percentile_keeps_winners_out(runner: Runner) -> None:
    limit = Limit("e2e_seconds", 1e-3, Statistic.MIN, lower=0.9e-3)
    _, result = run(runner, MemoryStore(), dataclasses.replace(RATE, limits=(limit,)))
    assert dict(result.config) != BEST
    assert result.best_value == pytest.approx(1000)


def test_evidence_of_before_there_were_objectives_is_of_times(runner: Runner) -> None:
    _, result = run(runner, MemoryStore(), Objective())
    assert result.winner is not None
    evidence = result.winner.evidence
    data = evidence.to_json()
    for name in ("objective", "default_value", "config_value"):
        del data[name]
    former = Evidence.from_json(data)
    assert former == evidence
    assert (former.metric, former.default_value) == ("seconds", former.default_seconds)


def test_trials_of_another_objective_that_tell_nothing_of_this_one_are_no_prior(runner: Runner) -> None:
    store = MemoryStore()
    former = store.create_campaign(Plan().to_json(), [TASK])
    for number, samples in enumerate(({"seconds": (1.0,)}, {"seconds": (1.0,), "request_per_second": (1.0,)})):
        config = Config(BATCH=number, THREADS=1, FAULT="none")
        store.add_trial(TASK, Trial(config, Measurement(Status.CORRECT, samples), former, number))
    campaign = Campaign([TASK], Plan("auto", Budget(4), RATE), runner=runner, store=store)
    [[source]] = campaign.sources
    assert [trial.number for trial in source.trials] == [1]
