from __future__ import annotations

from collections.abc import Sequence

import pytest

from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.plan import Budget, Plan
from tuner.related import related
from tuner.runners import LocalRunner
from tuner.search_spaces import Parameter, SearchSpace
from tuner.types import Config, Device, Measurement, Status, Task, Trial, Workload

SPACE = SearchSpace([Parameter.integer("X", 0, 9), Parameter.integer("Y", 0, 9), Parameter.integer("Z", 0, 9)])


def device(name: str = "here", kind: str = "cpu") -> Device:
    return Device(kind, name, "x86_64", 1, 0)


HERE = device()


def task(tunable: str = "cpp:softmax", device: Device = HERE, **fields: int | str) -> Task:
    return Task(tunable, "1", Workload(fields or {"M": 64}), device)


def stored(*tasks: Task, names: Sequence[str] = "XYZ", trials: int = 3) -> MemoryStore:
    store = MemoryStore()
    for one in tasks:
        _keep(store, one, names, trials)
    return store


def _keep(store: MemoryStore, one: Task, names: Sequence[str], trials: int) -> str:
    campaign = store.create_campaign({}, [one])
    for number in range(trials):
        measurement = Measurement(Status.CORRECT, {"seconds": (1.0 + number,)})
        store.add_trial(one, Trial(Config(dict.fromkeys(names, number)), measurement, campaign, number))
    return campaign


def test_the_nearest_come_first() -> None:
    tasks = [
        task("cpp:layernorm"),
        task(device=device("there"), M=256),
        task(M=1024),
        task(M=128),
        task(device=device("there")),
        task(),
    ]
    found = related(stored(*tasks), task(), SPACE)
    assert [source.task for source in found] == list(reversed(tasks))
    assert all(len(source.trials) == 3 for source in found)


def test_trials_of_all_campaigns_of_a_task_are_one_source() -> None:
    store = stored(task(), task())
    [source] = related(store, task(), SPACE)
    assert len(source.trials) == 6


def test_the_running_campaign_is_no_source_of_its_own() -> None:
    store = stored(task(M=128))
    running = _keep(store, task(), "XYZ", 5)
    assert [s.task for s in related(store, task(), SPACE, without=running)] == [task(M=128)]


def test_what_shares_few_parameters_or_is_another_kind_of_device_is_not_related() -> None:
    assert related(stored(task("cpp:layernorm"), names="XY"), task(), SPACE) == []
    assert related(stored(task("cpp:layernorm"), names="XYZUVW"), task(), SPACE) != []
    assert related(stored(task(device=device("gpu", "cuda"))), task(), SPACE) == []
    assert related(stored(task(), trials=0), task(), SPACE) == []


def test_a_few_sources_are_enough() -> None:
    tasks = [task(M=2**power) for power in range(7, 20)]
    assert [source.task for source in related(stored(*tasks), task(), SPACE)] == tasks[:8]


@pytest.mark.parametrize(("agent", "prior", "sources"), [("auto", True, 1), ("auto", False, 0), ("random", True, 0)])
def test_campaigns_learn_from_campaigns(agent: str, prior: bool, sources: int) -> None:
    store, runner = MemoryStore(), LocalRunner()
    try:
        first = task_of("tuner.testing.toys:PARABOLA", {"N": 8})
        Campaign([first], Plan(agent="random", budget=Budget(trials=16)), runner=runner, store=store).run()
        second = task_of("tuner.testing.toys:PARABOLA", {"N": 9})
        plan = Plan(agent=agent, budget=Budget(trials=4), prior=prior)
        campaign = Campaign([second], plan, runner=runner, store=store)
        assert [len(found) for found in campaign.sources] == [sources]
        campaign.run()
        assert Plan.from_json(store.campaign(campaign.id).spec) == campaign.plan
    finally:
        runner.close()


def test_plans_of_before_have_no_prior() -> None:
    data = Plan().to_json()
    del data["prior"]
    assert not Plan.from_json(data).prior
