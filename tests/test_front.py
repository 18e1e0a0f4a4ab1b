from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.agents import create_agent
from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.errors import StoreError, TunerError
from tuner.finals import Finals
from tuner.front import front_of, parse_pick
from tuner.objective import Direction, Limit, Objective
from tuner.phrase import parse_objectives
from tuner.picking import picked_again, play_picked
from tuner.plan import Budget, Plan, agent_for
from tuner.result import Result
from tuner.runners import LocalRunner, Runner
from tuner.search_spaces import Parameter, SearchSpace
from tuner.tunable import load
from tuner.types import Config, Measurement, Sampling, Status, Task, Trial

BOTH = Objective("seconds", beside=(Objective("rate", Direction.MAXIMIZE),))


def trial(number: int, seconds: float, rate: float, status: Status = Status.CORRECT) -> Trial:
    return Trial(Config(X=number), Measurement(status, {"seconds": (seconds,), "rate": (rate,)}), number=number)


def test_the_front_is_what_nothing_beats_in_everything() -> None:
    trials = [
        trial(0, 2, 2),
        trial(1, 1, 1),
        trial(2, 3, 3),
        trial(3, 3, 2),
        trial(4, 1, 0.5),
        trial(5, 0.1, 100, Status.RUNTIME),
        trial(6, 2, 2),
    ]
    assert [one.number for one in front_of(trials, BOTH)] == [1, 0, 2]


def test_what_breaks_a_limit_of_any_objective_is_not_on_the_front() -> None:
    limited = Objective("seconds", beside=(Objective("rate", Direction.MAXIMIZE, (Limit("seconds", 2.5),)),))
    assert [one.number for one in front_of([trial(0, 2, 2), trial(1, 3, 3)], limited)] == [0]


values = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(st.lists(values, max_size=30))
def test_each_trial_is_on_the_front_or_beaten_by_one_of_it(points: list[tuple[int, int]]) -> None:
    trials = [trial(number, *point) for number, point in enumerate(points)]
    front = {points[one.number] for one in front_of(trials, BOTH)}
    for seconds, rate in points:
        weakly_beaten = any(s <= seconds and r >= rate for s, r in front)
        assert weakly_beaten
    assert not any(s <= t and r >= q and (s, r) != (t, q) for s, r in front for t, q in front)
    assert len(front) == len(front_of(trials, BOTH))


def test_a_pick_is_the_knee_or_the_best_of_an_objective_under_limits() -> None:
    trials = [trial(0, 1, 1), trial(1, 2, 64), trial(2, 64, 100), trial(3, 100, 128)]

    def picked(rule: str) -> list[int]:
        return [one.number for one in parse_pick(rule, BOTH).ranked(trials, BOTH)]

    assert picked("knee")[0] == 1
    assert picked("maximize rate") == [3, 2, 1, 0]
    assert picked("maximize rate where seconds<64") == [2, 1, 0]
    assert picked("minimize seconds") == [0, 1, 2, 3]
    assert parse_pick("knee", BOTH).ranked([], BOTH) == []


def test_a_pick_that_is_none_is_refused() -> None:
    with pytest.raises(TunerError, match=r"'elbow' is not DIRECTION METRIC.*; or pick the 'knee'"):
        parse_pick("elbow", BOTH)
    with pytest.raises(TunerError, match="'elbow' is not DIRECTION"):
        Plan(objective=BOTH, pick="elbow")


def test_only_an_agent_that_searches_for_fronts_gets_several_objectives() -> None:
    space = SearchSpace([Parameter.integer("X", 0, 9)])
    with pytest.raises(TunerError, match="RandomAgent searches for one objective, not for the front of 2"):
        create_agent("random", space, BOTH, seed=0)
    with pytest.raises(TunerError, match="use optuna:nsgaii"):
        create_agent("optuna:cmaes", space, BOTH, seed=0)
    assert agent_for("auto", BOTH) == "optuna:nsgaii"
    assert agent_for("optuna:tpe", BOTH) == "optuna:tpe"
    assert agent_for("auto", Objective()) == "auto"


@pytest.mark.parametrize("agent", ["optuna:nsgaii", "optuna:tpe"])
def test_agents_find_more_of_a_front_than_chance(agent: str) -> None:
    """Two parameters pull apart, and the others only cost: the front has all of them at zero."""
    names = ["A", "B", "C", "D"]
    space = SearchSpace([Parameter.integer("X", 0, 15), *(Parameter.integer(name, 0, 7) for name in names)])

    def measured(number: int, config: Config) -> Trial:
        waste = 1 + sum(config.integer(name) for name in names)
        x = config.integer("X")
        samples = {"seconds": ((1 + x) * waste * 1.0,), "rate": ((1 + x) ** 0.5 / waste,)}
        return Trial(config, Measurement(Status.CORRECT, samples), number=number)

    def waste(name: str, objective: Objective) -> float:
        one = create_agent(name, space, objective, seed=1)
        trials = []
        for number in range(96):
            [config] = one.ask(1)
            trials.append(measured(number, config))
            one.tell(trials[-1:])
        assert len({each.config for each in trials}) == 96
        last = trials[-24:]
        return sum(sum(each.config.integer(n) for n in names) for each in last) / len(last)

    # At random, four times 3.5 are wasted.
    assert waste(agent, BOTH) < 0.75 * waste("random", Objective())


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    runner = LocalRunner(builders=1)
    yield runner
    runner.close()


def test_a_front_is_searched_picked_from_proven_and_picked_from_again(runner: Runner) -> None:
    """The toy engine is the faster the nearer BATCH is to 3, and takes 2 ** BATCH bytes."""
    task = task_of("tuner.testing.engine:TOY", {"N": 3})
    objective = parse_objectives(["maximize request_per_second", "minimize memory"])
    plan = Plan(agent_for("auto", objective), Budget(16), objective, Finals(rounds=13, loads=13))
    store = MemoryStore()
    campaign = Campaign([task], plan, runner=runner, store=store)
    [result] = campaign.run()
    trials = store.trials(campaign.id, task)
    front = front_of(trials, objective)
    assert {one.config["BATCH"] for one in front} == {0, 1, 2, 3}
    assert {one.config["THREADS"] for one in front} == {2}
    # The knee is worse than the default in nothing: with its memory, and the threads that make it faster.
    assert result.promoted
    assert (result.metric, result.config["BATCH"], result.config["THREADS"]) == ("request_per_second", 0, 2)
    rate, memory = result.beside
    assert rate.interval is not None
    assert rate.interval[0] > 1
    assert (memory.metric, memory.gain, memory.interval) == ("peak_memory_bytes", 1, None)
    assert Result.from_json(task, json.loads(json.dumps(result.to_json()))).beside == result.beside

    # Where everything better has its price, none is promoted until somebody chooses.
    default = load(task.tunable).default(task.workload, task.device)
    priced = [one for one in trials if one.config == default or one.config["BATCH"] != 0]
    verdict = play_picked(runner, task, default, plan, priced)
    assert not verdict.promoted
    [reason] = verdict.rejected.values()
    assert "worse than the default (minimize peak_memory_bytes: " in reason
    chosen = play_picked(runner, task, default, replace(plan, pick="maximize request_per_second"), priced)
    assert chosen.promoted
    assert chosen.beside[1].is_worse

    [again] = picked_again(store, campaign.id, "maximize request_per_second where memory<5", runner)
    assert again.promoted
    assert again.config["BATCH"] == 2
    [winner] = store.winners(tunable=task.tunable)
    assert winner.config == again.config
    assert winner.evidence.speedup == pytest.approx(10)
    assert math.isfinite(winner.evidence.interval[0])

    single = Campaign([task], Plan("random", Budget(2)), runner=runner, store=store)
    with pytest.raises(StoreError, match="has one objective; a choice needs several"):
        picked_again(store, single.id, "knee", runner)


def test_a_knee_that_the_final_finds_worse_is_not_promoted() -> None:
    """The search was lucky: it saw less energy, the final sees more."""
    default, config = Config(X=0), Config(X=1)
    plan = Plan(objective=parse_objectives(["minimize seconds", "minimize joules"]))

    def measured(joules: float, rounds: int) -> Measurement:
        samples = {"seconds": (1.0,) * rounds, "reference_seconds": (2.0,) * rounds, "joules": (joules,) * rounds}
        return Measurement(Status.CORRECT, {**samples, "reference_joules": (2.0,) * rounds})

    class Final:
        def compare(self, task: Task, configs: Sequence[Config], sampling: Sampling) -> Future[list[Measurement]]:
            done: Future[list[Measurement]] = Future()
            done.set_result([measured(2.0, 30), *(measured(2.5, 30) for _ in configs[1:])])
            return done

    task = task_of("tuner.testing.engine:TOY", {"N": 3})
    trials = [
        Trial(default, Measurement(Status.CORRECT, {"seconds": (2.0,), "joules": (2.0,)})),
        Trial(config, measured(1.0, 2), number=1),
    ]
    verdict = play_picked(cast("Runner", Final()), task, default, plan, trials)
    assert not verdict.promoted
    assert "minimize joules: 0.800x [0.800, 0.800]" in verdict.rejected[config]
