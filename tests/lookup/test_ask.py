from __future__ import annotations

from dataclasses import replace

import pytest

from tuner.campaign import task_of
from tuner.db import MemoryStore
from tuner.lookup import Source
from tuner.lookup.ask import best
from tuner.testing.store import make_winner
from tuner.types import Config, Device, State, Task, Winner

TASK = task_of("tuner.testing.toys:PARABOLA", {"N": 9})
CONFIG = Config(X=9, FAULT="none")


def stored(task: Task, config: Config = CONFIG, state: State = State.PROMOTED) -> MemoryStore:
    store = MemoryStore()
    campaign = store.create_campaign({}, [task])
    evidence = replace(make_winner(task).evidence, environment=task.device.environment)
    store.finish_task(campaign, task, {}, Winner(task, config, evidence, state, campaign))
    return store


def on(**changes: object) -> Device:
    return Device.from_json({**TASK.device.to_json(), **changes})


def test_a_promoted_winner_is_found() -> None:
    choice = best(stored(TASK), TASK)
    assert (choice.config, choice.source) == (CONFIG, Source.EXACT)
    assert choice.winner is not None


@pytest.mark.parametrize(
    "elsewhere",
    [
        task_of("tuner.testing.toys:FAULTY", {"N": 9}),
        replace(TASK, device=on(name="another CPU")),
    ],
)
def test_a_winner_of_another_task_is_not_this_one_s(elsewhere: Task) -> None:
    choice = best(stored(elsewhere), TASK)
    assert (choice.config, choice.source, choice.winner) == (Config(X=0, FAULT="none"), Source.DEFAULT, None)


@pytest.mark.parametrize(
    "old", [replace(TASK, version="0"), replace(TASK, device=on(environment={"compiler": "g++ 11"}))]
)
def test_a_winner_of_another_kernel_version_or_environment_is_stale(old: Task) -> None:
    here = replace(TASK, device=on(environment={**TASK.device.environment, "compiler": "g++ 12"}))
    choice = best(stored(old), here)
    assert (choice.config, choice.source) == (CONFIG, Source.EXACT_STALE)


def test_the_nearest_workload_s_winner_is_tried_before_the_default() -> None:
    choice = best(stored(task_of("tuner.testing.toys:PARABOLA", {"N": 18})), TASK)
    assert (choice.config, choice.source, choice.distance) == (CONFIG, Source.NEAREST, 1.0)


def test_a_config_that_is_not_valid_here_is_not_served_from_nearby() -> None:
    choice = best(stored(task_of("tuner.testing.toys:PARABOLA", {"N": 18}), Config(X=99, FAULT="none")), TASK)
    assert choice.source is Source.DEFAULT


def test_a_winner_that_is_no_longer_valid_is_not_served() -> None:
    assert best(stored(replace(TASK, version="0"), Config(X=99, FAULT="none")), TASK).source is Source.DEFAULT


@pytest.mark.parametrize("state", [State.CANDIDATE, State.QUARANTINED, State.RETIRED])
def test_only_promoted_winners_are_served(state: State) -> None:
    assert best(stored(TASK, state=state), TASK).source is Source.DEFAULT


def test_a_tool_that_is_not_known_here_does_not_make_a_winner_stale() -> None:
    built = replace(TASK, device=on(environment={**TASK.device.environment, "compiler": "g++ 12"}))
    assert best(stored(built), TASK).source is Source.EXACT


def test_an_exact_winner_comes_before_a_stale_one_that_is_newer() -> None:
    store = stored(TASK)
    newer = replace(TASK, version="0")
    campaign = store.create_campaign({}, [newer])
    evidence = replace(make_winner(newer).evidence, environment=TASK.device.environment)
    store.finish_task(campaign, newer, {}, Winner(newer, Config(X=5, FAULT="none"), evidence, State.PROMOTED))
    choice = best(store, TASK)
    assert (choice.config, choice.source) == (CONFIG, Source.EXACT)
