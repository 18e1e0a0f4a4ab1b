"""Campaigns over several tasks: who gets the trials, what passes between them, and that nothing depends on time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from tuner.campaign import Campaign, task_of
from tuner.db import CampaignState, MemoryStore, Store
from tuner.errors import TunerError
from tuner.nearby import NEARBY, distance
from tuner.plan import Budget, Plan
from tuner.result import Progress, Result, Stage
from tuner.runners import Activity, LocalRunner, ReplayRunner, Runner
from tuner.runners.futures import then
from tuner.schedule import WARM_UP, Reason, Schedule, Stop
from tuner.types import Config, Measurement, Sampling, State, Status, Task, Workload

TASKS = [task_of("tuner.testing.toys:PARABOLA", {"N": n}) for n in (9, 10, 3)]


class FormulaRunner:
    """Answers by the toy's formula in its own threads, after delays that differ from trial to trial."""

    capacity = 3
    activity = Activity()

    def __init__(self, delays: Sequence[float] = (0.0,)) -> None:
        self._delays = list(delays)
        self.submitted: list[tuple[int, int]] = []

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        future: Future[Measurement] = Future()
        delay = self._delays[len(self.submitted) % len(self._delays)]
        self.submitted.append((task.workload.integer("N"), config.integer("X")))
        threading.Timer(delay, future.set_result, (_measure(task, config, sampling),)).start()
        return future

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        future: Future[list[Measurement]] = Future()
        future.set_result([_measure(task, config, sampling) for config in configs])
        return future

    def close(self) -> None:
        pass


class ReplayedTasks:
    """Answers each task from its own record."""

    activity = Activity()

    def __init__(self, runners: dict[str, ReplayRunner], capacity: int) -> None:
        self._runners = runners
        self.capacity = capacity

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        return self._runners[task.key].submit(task, config, sampling)

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        return self._runners[task.key].compare(task, configs, sampling)

    def close(self) -> None:
        pass


def _measure(task: Task, config: Config, sampling: Sampling) -> Measurement:
    best = task.workload.integer("N")
    own, default = (1e-3 * (1 + (x - best) ** 2) for x in (config.integer("X"), 0))
    samples = {"seconds": (own,) * sampling.rounds, "reference_seconds": (default,) * sampling.rounds}
    return Measurement(Status.CORRECT, samples)


def run(
    runner: Runner, store: Store, tasks: Sequence[Task] = TASKS, watch: Any = lambda _: None, **changes: Any
) -> tuple[Campaign, list[Result]]:
    plan = Plan(**{"agent": "random", "budget": Budget(trials=11), **changes})
    campaign = Campaign(tasks, plan, runner=runner, store=store, watch=watch)
    return campaign, campaign.run()


@pytest.mark.parametrize("agent", ["random", "optuna"])
def test_proposals_of_several_tasks_do_not_depend_on_how_long_trials_take(agent: str) -> None:
    runs = []
    for delays in ((0.0,), (0.02, 0.0, 0.01, 0.0), (0.0, 0.03)):
        runner = FormulaRunner(delays)
        run(runner, MemoryStore(), agent=agent, seed=5)
        runs.append(runner.submitted)
    assert runs[0] == runs[1] == runs[2]


def test_the_same_campaign_locally_and_on_replay() -> None:
    stores = MemoryStore(), MemoryStore()
    local = LocalRunner()
    first, results = run(local, stores[0], agent="optuna", in_flight=3)
    local.close()
    recorded = {task.key: ReplayRunner.from_trials(stores[0].trials(first.id, task)) for task in TASKS}
    second, replayed = run(ReplayedTasks(recorded, 3), stores[1], agent="optuna")
    for task in TASKS:
        trials = [store.trials(campaign.id, task) for store, campaign in zip(stores, (first, second), strict=True)]
        assert [t.config for t in trials[0]] == [t.config for t in trials[1]]
    assert [result.trials for result in replayed] == [result.trials for result in results]
    assert [result.stopped for result in replayed] == [result.stopped for result in results]


def test_the_budget_is_shared_and_each_task_has_its_warm_up() -> None:
    _, results = run(FormulaRunner(), MemoryStore())
    assert sum(result.trials for result in results) == 33
    assert min(result.trials for result in results) >= WARM_UP
    assert len({result.trials for result in results}) > 1
    assert {result.stopped for result in results} <= {Stop.TRIALS, Stop.SPACE}


def test_a_task_that_is_called_more_often_gets_more() -> None:
    given = []
    for uses in ((1e6, 1.0, 1.0), (1.0, 1.0, 1e6)):
        _, results = run(FormulaRunner(), MemoryStore(), uses=uses)
        given.append([result.trials for result in results])
        assert [result.use for result in results] == list(uses)
    assert given[0][0] > given[1][0]
    assert given[0][2] < given[1][2]


def test_each_task_may_keep_its_own_budget() -> None:
    runner = FormulaRunner()
    _, results = run(runner, MemoryStore(), schedule=Schedule.EACH)
    assert [result.trials for result in results] == [11, 11, 11]
    assert [n for n, _ in runner.submitted] == [9] * 11 + [10] * 11 + [3] * 11


def test_patience_ends_the_campaign_early() -> None:
    _, results = run(FormulaRunner(), MemoryStore(), budget=Budget(16, patience=0.5))
    assert sum(result.trials for result in results) < 48
    assert Stop.PATIENCE in {result.stopped for result in results}


def test_a_task_starts_from_the_best_of_the_nearest() -> None:
    runner, store = FormulaRunner(), MemoryStore()
    campaign, results = run(runner, store, TASKS[:2], schedule=Schedule.EACH, budget=Budget(16), in_flight=1)
    of_second = [x for n, x in runner.submitted if n == 10]
    assert of_second[:2] == [0, 9]
    assert [result.starts for result in results] == [0, 1]
    started = store.trials(campaign.id, TASKS[1])[1]
    assert started.measurement.resources[NEARBY] == Workload(N=9).json


def test_a_winner_of_a_former_campaign_is_a_start() -> None:
    store = MemoryStore()
    run(FormulaRunner(), store, TASKS[:1], budget=Budget(16))
    runner = FormulaRunner()
    _, [result] = run(runner, store, TASKS[1:2])
    assert runner.submitted[:2] == [(10, 0), (10, 9)]
    assert result.starts == 1


def test_distances_are_computed_once_however_many_turns_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for trials in (8, 16):
        store, calls = MemoryStore(), 0

        def counted(one: Workload, other: Workload) -> float:
            nonlocal calls
            calls += 1
            return distance(one, other)

        run(FormulaRunner(), store, TASKS[:1], budget=Budget(16))
        monkeypatch.setattr("tuner.search.distance", counted)
        run(FormulaRunner(), store, TASKS, budget=Budget(trials))
        asked.append(calls)
        monkeypatch.undo()
    assert asked[0] == asked[1] > 0


def test_a_retired_winner_is_no_start() -> None:
    store = MemoryStore()
    run(FormulaRunner(), store, TASKS[:1], budget=Budget(16))
    store.set_winner_state(store.winners()[0].id, State.QUARANTINED, "wrong on some inputs")
    _, [result] = run(FormulaRunner(), store, TASKS[1:2])
    assert result.starts == 0


def test_what_a_neighbour_finds_later_is_tried_too() -> None:
    """The second task warms up when its neighbour has found little, and is told of the rest."""
    campaign, results = run(FormulaRunner(), store := MemoryStore(), TASKS[:2], uses=(1e6, 1.0), budget=Budget(12))
    first, second = (store.trials(campaign.id, task) for task in TASKS[:2])
    assert len(first) > WARM_UP
    late = [trial for trial in second[WARM_UP:] if NEARBY in trial.measurement.resources]
    assert results[1].starts >= 1
    assert all(trial.config in {t.config for t in first} for trial in late)


def test_a_stopped_campaign_resumes_to_its_whole_budget() -> None:
    store, seen = MemoryStore(), 0

    def watch(progress: Progress) -> None:
        nonlocal seen
        seen = max(seen, progress.all_trials)
        if progress.all_trials >= 20:
            campaign.stop()

    plan = Plan(agent="optuna", budget=Budget(11), uses=(1.0, 2.0, 3.0))
    campaign = Campaign(TASKS, plan, runner=FormulaRunner((0.005,)), store=store, watch=watch)
    results = campaign.run()
    assert [result.interrupted for result in results] == [True] * 3
    assert {result.stopped for result in results} == {Stop.INTERRUPTED}
    kept = {task.key: store.trials(campaign.id, task) for task in TASKS}
    assert 20 <= sum(map(len, kept.values())) <= 23
    assert store.campaign(campaign.id).state is CampaignState.INTERRUPTED

    again = FormulaRunner()
    results = Campaign.resume(campaign.id, runner=again, store=store).run()
    assert sum(result.trials for result in results) == 33
    assert len(again.submitted) == 33 - sum(map(len, kept.values()))
    assert [result.use for result in results] == [1.0, 2.0, 3.0]
    for task in TASKS:
        trials = store.trials(campaign.id, task)
        assert trials[: len(kept[task.key])] == kept[task.key]
        assert [trial.number for trial in trials] == list(range(len(trials)))
    assert store.campaign(campaign.id).state is CampaignState.FINISHED


def test_stopped_between_finals_a_campaign_goes_on_with_those_that_are_left() -> None:
    class Stopping(FormulaRunner):
        def compare(
            self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
        ) -> Future[list[Measurement]]:
            campaign.stop()
            return super().compare(task, configs, sampling)

    store = MemoryStore()
    campaign = Campaign(TASKS, Plan(agent="random", budget=Budget(11)), runner=Stopping(), store=store)
    results = campaign.run()
    assert [result.interrupted for result in results] == [False, True, True]
    again = FormulaRunner()
    results = Campaign.resume(campaign.id, runner=again, store=store).run()
    assert not any(result.interrupted for result in results)
    assert again.submitted == []
    assert len(store.winners()) == 3


def test_cancelled_in_its_finals_a_campaign_ends_before_the_next_ones_and_says_so() -> None:
    class Cancelled(FormulaRunner):
        def compare(
            self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
        ) -> Future[list[Measurement]]:
            store.set_campaign_state(campaign.id, CampaignState.CANCELLED)
            return super().compare(task, configs, sampling)

    store = MemoryStore()
    campaign = Campaign(TASKS, Plan(agent="random", budget=Budget(11)), runner=Cancelled(), store=store)
    results = campaign.run()
    assert [result.interrupted for result in results] == [False, True, True]
    assert store.campaign(campaign.id).state is CampaignState.CANCELLED
    assert set(store.outcomes(campaign.id)) == {TASKS[0].key}
    results = Campaign.resume(campaign.id, runner=FormulaRunner(), store=store).run()
    assert not any(result.interrupted for result in results)
    assert store.campaign(campaign.id).state is CampaignState.FINISHED


class PendingFinals(FormulaRunner):
    """Finishes its first comparison when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: Future[None] = Future()

    def finish(self) -> None:
        if not self.pending.done():
            self.pending.set_result(None)

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        return then(self.pending, lambda _: [_measure(task, config, sampling) for config in configs])


def test_whoever_watches_is_told_of_the_finals_while_they_run() -> None:
    runner, told = PendingFinals(), 0

    def watch(progress: Progress) -> None:
        nonlocal told
        told += progress.stage is Stage.FINALS
        if told == 3:
            runner.finish()

    rescue = threading.Timer(20, runner.finish)
    rescue.start()
    _, [result] = run(runner, MemoryStore(), TASKS[:1], watch=watch)
    rescue.cancel()
    assert told >= 3
    assert result.promoted


def test_an_interrupt_in_the_finals_does_not_wait_for_them() -> None:
    runner, seen = PendingFinals(), 0

    def watch(progress: Progress) -> None:
        nonlocal seen
        seen += progress.stage is Stage.FINALS
        if seen == 2:
            raise KeyboardInterrupt

    rescue = threading.Timer(20, runner.finish)
    rescue.start()
    with pytest.raises(KeyboardInterrupt):
        run(runner, MemoryStore(), TASKS[:1], watch=watch)
    assert not runner.pending.done()
    rescue.cancel()
    runner.finish()


def test_progress_says_which_task_runs_and_why() -> None:
    seen: list[Progress] = []
    run(FormulaRunner(), MemoryStore(), watch=seen.append)
    turns = [progress.turn for progress in seen if progress.turn]
    assert turns[0].reason is Reason.WARM_UP
    assert Reason.GAIN in {turn.reason for turn in turns}
    assert all(TASKS[p.turn.position].key == p.task.key for p in seen if p.turn)
    assert max(progress.all_trials for progress in seen) == seen[-1].budget_trials == 33


def test_a_result_with_its_share_is_read_back() -> None:
    _, results = run(FormulaRunner(), MemoryStore())
    for result in results:
        assert Result.from_json(result.task, result.to_json()) == result
        assert result.gain > 0.5
        assert 0 < result.expected_gain < 1


def test_uses_that_do_not_fit_the_tasks_are_refused() -> None:
    with pytest.raises(TunerError, match="2 uses are given for 3 tasks"):
        Campaign(TASKS, Plan(uses=(1.0, 2.0)), runner=FormulaRunner(), store=MemoryStore())
    with pytest.raises(TunerError, match=r"use=-1\.0 is not a positive number"):
        Plan(uses=(-1.0,))
    with pytest.raises(TunerError, match="patience=2 is not a share"):
        Budget(patience=2)
