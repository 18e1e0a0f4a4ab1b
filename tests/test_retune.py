"""What to tune next, and that campaigns start from the old winner and leave what is quarantined alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

import pytest

from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore, Store
from tuner.devices import detect
from tuner.errors import TunerError
from tuner.plan import Budget, Plan
from tuner.precedent import precedent_of
from tuner.result import Result
from tuner.retune import Present, missed, stale
from tuner.runners import Activity
from tuner.testing.store import make_winner
from tuner.types import Config, Device, Evidence, Measurement, Miss, Sampling, State, Status, Task, Winner, Workload

T = TypeVar("T")

TOY = "tuner.testing.toys:PARABOLA"
TASK = task_of(TOY, {"N": 9})
PLAN = Plan(agent="random", budget=Budget(trials=16))


def config(x: int) -> Config:
    return Config(X=x, FAULT="none")


class Formula:
    """Answers at once, by the formula of the toy; `watch` is told of each comparison."""

    capacity = 1
    activity = Activity()

    def __init__(self, store: Store | None = None, quarantined: int = 0) -> None:
        self.submitted: list[Config] = []
        self.compared: list[list[Config]] = []
        self._store, self._quarantined = store, quarantined

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        self.submitted.append(config)
        return _done(self._measured(task, config, sampling))

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        self.compared.append(list(configs))
        if self._store and self._quarantined:
            self._store.quarantine(self._quarantined, "found out during the finals")
            self._quarantined = 0
        return _done([self._measured(task, config, sampling) for config in configs])

    def close(self) -> None:
        pass

    def _measured(self, task: Task, config: Config, sampling: Sampling) -> Measurement:
        n = task.workload.integer("N")
        own, reference = (1e-3 * (1 + (x - n) ** 2) for x in (config.integer("X"), 0))
        samples = {"seconds": (own,) * sampling.rounds, "reference_seconds": (reference,) * sampling.rounds}
        return Measurement(Status.CORRECT, samples)


def _done(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future


def run(store: Store, runner: Formula, plan: Plan = PLAN, task: Task = TASK) -> Result:
    [result] = Campaign([task], plan, runner=runner, store=store).run()
    return result


def kept(store: Store, task: Task, x: int, state: State = State.PROMOTED) -> int:
    """Return the identifier of a winner that a campaign of before found."""
    found = replace(make_winner(task, state), config=config(x))
    winner = store.finish_task(store.create_campaign({}, [task]), task, {}, found)
    assert winner is not None
    return winner.id


def on(**changes: str) -> Device:
    return replace(TASK.device, environment={**TASK.device.environment, **changes})


# Campaigns


@pytest.mark.parametrize(
    "old", [replace(TASK, version="0"), replace(TASK, device=on(compiler="gcc 4"))], ids=["source", "compiler"]
)
def test_a_campaign_starts_from_the_old_winner(old: Task) -> None:
    """Its config is proposed after the default, and plays in the finals, whatever the search says."""
    store, runner = MemoryStore(), Formula()
    kept(store, old, 8)
    run(store, runner, replace(PLAN, budget=Budget(trials=2)))
    assert runner.submitted == [config(0), config(8)]
    assert runner.compared[0] == [config(0), config(8)]
    assert {winner.config for winner in store.winners(place=TASK.place)} == {config(8)}
    assert TASK.key in {winner.task.key for winner in store.winners()}


def test_a_campaign_tries_what_others_tell_of() -> None:
    """An imported candidate is proven like any other config; one whose config is quarantined is not tried for that."""
    store, runner = MemoryStore(), Formula()
    told = Evidence.told("a.json", config(0), measured_at="2026-01-01T00:00:00+00:00")
    store.add_winner(Winner(TASK, config(8), told, State.CANDIDATE), "imported")
    kept(store, TASK, 3, State.CANDIDATE)
    result = run(store, runner, replace(PLAN, budget=Budget(trials=2)))
    assert runner.submitted == [config(0), config(8)]
    assert (result.promoted, result.config) == (True, config(8))
    assert result.winner is not None
    assert result.winner.evidence.origin == ""


def test_an_old_winner_that_is_not_in_the_space_any_more_does_not_play() -> None:
    store, runner = MemoryStore(), Formula()
    kept(store, replace(TASK, version="0"), 99)
    run(store, runner)
    assert config(99) not in [*runner.submitted, *runner.compared[0]]


def test_a_quarantined_config_does_not_play_and_the_next_best_wins() -> None:
    store, runner = MemoryStore(), Formula()
    bad = run(store, Formula()).winner
    assert bad is not None
    store.quarantine(bad.id, "wrong output in production")
    result = run(store, runner)
    assert result.promoted
    assert result.config in (config(8), config(10))
    assert all(config(9) not in configs for configs in runner.compared)
    assert result.rejected == (f"X=9 FAULT=none: winner {bad.id} is quarantined: wrong output in production",)
    assert Result.from_json(TASK, store.outcomes(store.campaigns()[0].id)[TASK.key]).rejected == result.rejected


def test_what_was_quarantined_under_another_version_does_not_play_either() -> None:
    store = MemoryStore()
    store.quarantine(kept(store, replace(TASK, version="0"), 9), "wrong output")
    kept(store, replace(TASK, workload=Workload(N=8)), 9)
    assert run(store, Formula()).config != config(9)


def test_what_is_quarantined_during_the_finals_is_not_promoted() -> None:
    """The result, the outcome and the store agree that the default is kept, and say why."""
    store = MemoryStore()
    bad = kept(store, TASK, 9)
    result = run(store, Formula(store, quarantined=bad))
    assert (result.promoted, result.config) == (False, config(0))
    assert "found out during the finals" in result.rejected[-1]
    assert store.winners() == []
    assert result.winner is not None
    assert result.winner.state is State.CANDIDATE
    outcome = Result.from_json(TASK, store.outcomes(store.campaigns()[0].id)[TASK.key])
    assert (outcome.promoted, outcome.config) == (False, config(0))


def test_incumbents_are_few_and_those_of_the_own_version_come_first() -> None:
    store = MemoryStore()
    kept(store, TASK, 1)
    for version in range(5):
        kept(store, replace(TASK, version=f"v{version}"), 2 + version)
    assert precedent_of(store, TASK).incumbents == (config(1), config(6), config(5))


# Stale winners


def test_winners_of_another_source_or_compiler_are_stale_and_most_asked_for_come_first() -> None:
    store = MemoryStore()
    fresh, source, compiler = (
        TASK,
        replace(TASK, version="0", workload=Workload(N=2)),
        replace(TASK, workload=Workload(N=3), device=on(tuner="0", python="2")),
    )
    for task in (fresh, source, compiler):
        kept(store, task, 1)
    present = Present(lambda _: on(python="3"))
    store.add_misses([Miss(TOY, Workload(N=3), TASK.device, 5, "default", "2026-01-01T00:00:00+00:00")])
    one, two = stale(store, present)
    assert (one.workload, one.asked, [str(change) for change in one.changes]) == (Workload(N=3), 5, ["python 2 -> 3"])
    assert (two.workload, two.asked, [str(change) for change in two.changes]) == (
        Workload(N=2),
        0,
        ["kernel source 0 -> 1"],
    )
    assert one.task is not None
    assert one.task.device.environment["python"] == "3"
    assert two.task is not None
    assert two.task.version == "1"


def test_a_workload_with_a_fresh_winner_is_not_stale() -> None:
    store = MemoryStore()
    kept(store, TASK, 1)
    kept(store, replace(TASK, version="0"), 2)
    assert stale(store, Present()) == []


def test_of_several_stale_winners_the_newest_counts() -> None:
    store = MemoryStore()
    kept(store, replace(TASK, version="-1"), 1)
    newest = kept(store, replace(TASK, version="0"), 2)
    [found] = stale(store, Present())
    assert found.winner is not None
    assert found.winner.id == newest


def test_what_cannot_be_tuned_here_says_why() -> None:
    store = MemoryStore()
    elsewhere = replace(TASK, version="0", device=replace(TASK.device, name="another CPU"))
    kept(store, elsewhere, 1)
    [found] = stale(store, Present())
    assert found.task is None
    assert "it is for another CPU" in found.obstacle
    assert [change.name for change in found.changes] == ["kernel source"]
    [gone] = stale(store, Present(_nothing))
    assert gone.obstacle == "there is no such device"


def _nothing(name: str) -> Device:
    raise TunerError("there is no such device")


def test_a_kernel_can_be_asked_for_by_its_name() -> None:
    store = MemoryStore()
    kept(store, replace(TASK, version="0"), 1)
    assert len(stale(store, Present(), kernel=TOY)) == len(stale(store, Present(), kernel="PARABOLA")) == 1
    assert stale(store, Present(), kernel="softmax") == []


# Misses


def miss(n: object, count: int = 1, kernel: str = TOY, device: Device = TASK.device) -> Miss:
    return Miss(kernel, Workload({"N": n}), device, count, "default", "2026-01-01T00:00:00+00:00")  # type: ignore[dict-item]


def test_misses_become_tasks_the_most_asked_for_first() -> None:
    store = MemoryStore()
    store.add_misses([miss(3, 2), miss(4, 9)])
    one, two = missed(store, Present())
    assert (one.asked, one.task) == (9, replace(TASK, workload=Workload(N=4)))
    assert (two.asked, two.obstacle, two.miss) == (2, "", store.misses()[1])
    assert len(missed(store, Present(), limit=1)) == 1


@pytest.mark.parametrize(
    ("wrong", "obstacle"),
    [
        (miss("many"), "takes one integer field N"),
        (miss(3, kernel="no.such:KERNEL"), "no.such"),
        (miss(3, device=replace(TASK.device, name="another CPU")), "it is for another CPU"),
        (miss(3, device=Device("cuda", "a GPU", "sm_90", 1, 1)), "GPU|CUDA|cuda|NVIDIA"),
    ],
)
def test_a_miss_that_cannot_be_tuned_says_why_and_holds_up_nothing(wrong: Miss, obstacle: str) -> None:
    store = MemoryStore()
    store.add_misses([replace(wrong, count=9), miss(5)])
    one, two = missed(store, Present())
    assert one.task is None
    assert re.search(obstacle, one.obstacle), one.obstacle
    assert two.task is not None


def test_what_was_tuned_since_is_not_tuned_again() -> None:
    """Neither with a winner, nor with a default that was kept; until the kernel or its tools change."""
    store = MemoryStore()
    store.add_misses([miss(9, 3), miss(5, 2)])
    won = run(store, Formula()).winner
    assert won is not None
    other = replace(TASK, workload=Workload(N=5))
    run(store, Formula(), replace(PLAN, budget=Budget(trials=1)), other)
    one, two = missed(store, Present())
    assert one.obstacle == f"winner {won.id} has been promoted for it"
    assert two.obstacle == f"campaign {store.campaigns()[0].id} kept the default"
    assert [one.obstacle for one in missed(store, Present(), again=True)][1] == ""
    later = Present(lambda _: on(compiler="another"))
    campaign = store.create_campaign({}, [replace(other, device=on(compiler="one"))])
    store.finish_task(campaign, other, {"promoted": False}, None)
    assert "kept the default" in missed(store, later)[1].obstacle


def test_imported_candidates_are_no_answer_to_a_miss() -> None:
    store = MemoryStore()
    told = Evidence.told("a.json", config(0), measured_at="2026-01-01T00:00:00+00:00")
    store.add_winner(Winner(TASK, config(9), told, State.CANDIDATE), "imported")
    store.add_misses([miss(9)])
    [found] = missed(store, Present())
    assert (found.obstacle, found.winner) == ("", None)


def test_a_device_is_looked_at_once() -> None:
    seen: list[str] = []

    def looked(name: str) -> Device:
        seen.append(name)
        return detect(name)

    store = MemoryStore()
    store.add_misses([miss(n) for n in range(1, 5)])
    assert len(missed(store, Present(looked))) == 4
    assert seen == ["cpu:1"]
