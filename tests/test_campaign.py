from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.campaign import Campaign, task_of
from tuner.db import CampaignRecord, CampaignState, MemoryStore, Store
from tuner.db.sql import open_store
from tuner.errors import StoreError, TunableError, TunerError, WorkloadError
from tuner.finals import Finals
from tuner.objective import Limit, Objective
from tuner.plan import Budget, Plan
from tuner.result import Progress, Stage
from tuner.runners import Activity, LocalRunner, ReplayRunner, Runner
from tuner.runners.station import Timeouts
from tuner.schedule import Stop
from tuner.testing.toys import PARABOLA, Parabola
from tuner.tunable import load
from tuner.tuning import tune
from tuner.types import Config, Device, Measurement, Sampling, State, Status, Task, Trial

ROOT = Path(__file__).parents[1]
TASK = task_of("tuner.testing.toys:PARABOLA", {"N": 9})


class FormulaRunner:
    """Answers in its own threads, after a delay that differs from trial to trial."""

    capacity = 3
    activity = Activity()

    def __init__(self, delays: Sequence[float] = (0.0,), failing: Sequence[int] = ()) -> None:
        self._delays = list(delays)
        self._failing = set(failing)
        self.submitted: list[Config] = []
        self.compared: list[list[Config]] = []

    def _measure(self, config: Config, rounds: int, default: Config) -> Measurement:
        if config.integer("X") in self._failing:
            return Measurement(Status.RUNTIME, error="asked to fail")
        seconds = [1e-3 * (1 + (c.integer("X") - 9) ** 2) for c in (config, default)]
        return Measurement(
            Status.CORRECT, {"seconds": (seconds[0],) * rounds, "reference_seconds": (seconds[1],) * rounds}
        )

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        future: Future[Measurement] = Future()
        delay = self._delays[len(self.submitted) % len(self._delays)]
        self.submitted.append(config)
        result = self._measure(config, sampling.rounds, Config(X=0, FAULT="none"))
        threading.Timer(delay, future.set_result, (result,)).start()
        return future

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        self.compared.append(list(configs))
        future: Future[list[Measurement]] = Future()
        future.set_result([self._measure(config, sampling.rounds, configs[0]) for config in configs])
        return future

    def close(self) -> None:
        pass


def run(runner: Runner, store: Store, **changes: Any) -> tuple[Campaign, Any]:
    plan = Plan(**{"agent": "random", "budget": Budget(trials=10), **changes})
    campaign = Campaign([TASK], plan, runner=runner, store=store)
    [result] = campaign.run()
    return campaign, result


def test_a_campaign_finds_proves_and_keeps_a_winner() -> None:
    store = MemoryStore()
    campaign, result = run(FormulaRunner(), store, budget=Budget(trials=16))
    assert result.config == Config(X=9, FAULT="none")
    assert result.promoted
    assert result.speedup == pytest.approx(82)
    [winner] = store.winners()
    assert winner.config == result.config
    assert winner.campaign == campaign.id
    assert winner.evidence.rounds == Finals().rounds
    assert store.campaign(campaign.id).state is CampaignState.FINISHED
    assert len(store.trials(campaign.id, TASK)) == 16


def test_the_default_is_the_first_trial() -> None:
    runner = FormulaRunner()
    run(runner, MemoryStore())
    assert runner.submitted[0] == Config(X=0, FAULT="none")


def test_proposals_do_not_depend_on_how_long_trials_take() -> None:
    runs = []
    for delays in ((0.0,), (0.03, 0.0, 0.01, 0.0), (0.0, 0.05)):
        runner = FormulaRunner(delays)
        run(runner, MemoryStore(), agent="optuna", budget=Budget(trials=14), seed=5)
        runs.append(runner.submitted)
    assert runs[0] == runs[1] == runs[2]


def test_the_same_campaign_on_replay_has_the_same_winner() -> None:
    store = MemoryStore()
    campaign, result = run(FormulaRunner(), store, agent="optuna", budget=Budget(trials=12), seed=2)
    replay = ReplayRunner.from_trials(store.trials(campaign.id, TASK), capacity=3)
    again = MemoryStore()
    second, replayed = run(replay, again, agent="optuna", budget=Budget(trials=12), seed=2)
    assert replayed.config == result.config
    assert [t.config for t in again.trials(second.id, TASK)] == [t.config for t in store.trials(campaign.id, TASK)]


def test_no_more_than_the_capacity_is_in_flight() -> None:
    most = 0

    class Counting(FormulaRunner):
        waiting: list[Future[Measurement]]

        def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
            nonlocal most
            future = super().submit(task, config, sampling)
            self.waiting = [f for f in [*getattr(self, "waiting", []), future] if not f.done()]
            most = max(most, len(self.waiting))
            return future

    run(Counting((0.02, 0.05)), MemoryStore())
    assert most == 3


def test_a_small_space_ends_the_search() -> None:
    _, result = run(FormulaRunner(), MemoryStore(), budget=Budget(trials=500))
    assert result.trials == 16


def test_seconds_end_the_search() -> None:
    _, result = run(FormulaRunner((0.2,)), MemoryStore(), budget=Budget(trials=16, seconds=0.3))
    assert 1 <= result.trials < 16


def test_failures_are_counted_and_never_win() -> None:
    _, result = run(FormulaRunner(failing=(9, 8)), MemoryStore(), budget=Budget(trials=16))
    assert result.statuses == {"correct": 14, "runtime": 2}
    assert result.config == Config(X=10, FAULT="none")


def test_a_default_that_fails_ends_the_campaign_with_its_error() -> None:
    store = MemoryStore()
    with pytest.raises(TunableError, match=r"default config of .*PARABOLA fails \(runtime\): asked to fail"):
        run(FormulaRunner(failing=(0,)), store)
    assert store.campaigns()[0].state is CampaignState.INTERRUPTED


def test_a_task_whose_default_fails_does_not_end_the_others() -> None:
    class HalfFailing(FormulaRunner):
        def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
            if task.workload.integer("N") == 7 and config.integer("X") == 0:
                future: Future[Measurement] = Future()
                future.set_result(Measurement(Status.RUNTIME, error="asked to fail"))
                return future
            return super().submit(task, config, sampling)

    store = MemoryStore()
    tasks = [task_of("tuner.testing.toys:PARABOLA", {"N": 7}), TASK]
    failed, tuned = Campaign(tasks, Plan(agent="random", budget=Budget(16)), runner=HalfFailing(), store=store).run()
    assert (failed.stopped, failed.promoted, failed.config) == (Stop.DEFAULT, False, Config(X=0, FAULT="none"))
    assert "asked to fail" in failed.rejected[0]
    assert (tuned.promoted, tuned.config) == (True, Config(X=9, FAULT="none"))
    [record] = store.campaigns()
    assert record.state is CampaignState.FINISHED
    assert store.outcomes(record.id)[tasks[0].key]["stopped"] == "default"


def test_a_limit_on_what_is_not_measured_ends_the_campaign_with_what_is() -> None:
    runner, limited = FormulaRunner(), Objective(limits=(Limit("seconds", 1.0), Limit("code_byts", 1e5)))
    with pytest.raises(TunableError, match=r"PARABOLA: a limit on 'code_byts' .*: seconds, reference_seconds$"):
        run(runner, MemoryStore(), objective=limited)
    assert len(runner.submitted) <= runner.capacity


def test_the_default_is_kept_when_nothing_is_faster() -> None:
    task = task_of("tuner.testing.toys:PARABOLA", {"N": 0})
    runner, store = LocalRunner(), MemoryStore()
    [result] = Campaign([task], Plan(agent="random", budget=Budget(16)), runner=runner, store=store).run()
    runner.close()
    assert not result.promoted
    assert result.config == Config(X=0, FAULT="none")
    assert result.speedup == pytest.approx(0.5)
    assert store.winners() == []


def test_an_interval_below_the_threshold_is_not_promoted() -> None:
    _, result = run(FormulaRunner(), MemoryStore(), budget=Budget(16), finals=Finals(threshold=100.0))
    assert not result.promoted
    assert result.config == Config(X=0, FAULT="none")
    assert result.speedup == pytest.approx(82)


def test_a_stopped_campaign_keeps_its_trials_and_can_be_resumed() -> None:
    store, runner = MemoryStore(), FormulaRunner((0.01,))
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if progress.trials == 5:
            campaign.stop()

    plan = Plan(agent="random", budget=Budget(trials=16))
    campaign = Campaign([TASK], plan, runner=runner, store=store, watch=watch)
    [result] = campaign.run()
    assert result.interrupted
    assert result.speedup is None
    kept = store.trials(campaign.id, TASK)
    assert 5 <= len(kept) <= 5 + runner.capacity
    assert store.campaign(campaign.id).state is CampaignState.INTERRUPTED

    again = FormulaRunner()
    [result] = Campaign.resume(campaign.id, runner=again, store=store).run()
    assert not set(again.submitted) & {trial.config for trial in kept}
    assert result.trials == 16
    assert result.config == Config(X=9, FAULT="none")
    assert [trial.number for trial in store.trials(campaign.id, TASK)] == list(range(16))
    with pytest.raises(StoreError, match="has finished"):
        Campaign.resume(campaign.id, runner=again, store=store)


def test_a_campaign_that_is_stopped_in_its_last_finals_has_finished() -> None:
    class Stopping(FormulaRunner):
        def compare(
            self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
        ) -> Future[list[Measurement]]:
            campaign.stop()
            return super().compare(task, configs, sampling)

    store = MemoryStore()
    campaign = Campaign([TASK], Plan(agent="random", budget=Budget(16)), runner=Stopping(), store=store)
    [result] = campaign.run()
    assert result.promoted
    assert store.campaign(campaign.id).state is CampaignState.FINISHED


def test_a_cancelled_campaign_ends_and_says_so() -> None:
    store = MemoryStore()
    task = task_of("tuner.testing.toys:PARABOLA", {"N": 9})
    campaign = Campaign([task], Plan(agent="random"), runner=FormulaRunner((0.4,)), store=store)
    store.set_campaign_state(campaign.id, CampaignState.CANCELLED)
    threading.Timer(0.5, store.set_campaign_state, (campaign.id, CampaignState.CANCELLED)).start()
    [result] = campaign.run()
    assert result.interrupted
    assert store.campaign(campaign.id).state is CampaignState.CANCELLED


def test_a_store_that_fails_ends_the_campaign_with_its_error() -> None:
    class Full(MemoryStore):
        def add_trial(self, task: Task, trial: Trial) -> None:
            raise StoreError("disk full")

    with pytest.raises(StoreError, match="disk full"):
        run(FormulaRunner(), Full())


def test_progress_tells_where_it_is() -> None:
    seen: list[Progress] = []
    plan = Plan(agent="random", budget=Budget(trials=10))
    Campaign([TASK], plan, runner=FormulaRunner(failing=(3,)), store=MemoryStore(), watch=seen.append).run()
    assert seen[-1].stage is Stage.FINALS
    searching = [progress for progress in seen if progress.stage is Stage.SEARCH]
    assert [p.trials for p in searching] == sorted(p.trials for p in searching)
    assert searching[-1].trials == 10
    assert searching[-1].seconds_left == 0
    assert searching[-1].best < 1


def test_two_tasks_in_one_campaign() -> None:
    tasks = [task_of("tuner.testing.toys:PARABOLA", {"N": n}) for n in (4, 9)]
    runner, store = LocalRunner(), MemoryStore()
    results = Campaign(tasks, Plan(agent="random", budget=Budget(16)), runner=runner, store=store).run()
    runner.close()
    assert [result.config["X"] for result in results] == [4, 9]
    assert {winner.task.key for winner in store.winners()} == {task.key for task in tasks}


@pytest.fixture
def faulty() -> Iterator[Runner]:
    runner = LocalRunner(timeouts=Timeouts(build_seconds=3, measure_seconds=3))
    yield runner
    runner.close()


@pytest.mark.slow
def test_no_fault_of_a_config_reaches_the_campaign(faulty: Runner) -> None:
    store = MemoryStore()
    task = task_of("tuner.testing.toys:FAULTY", {"N": 3})
    campaign = Campaign([task], Plan(agent="random", budget=Budget(32), seed=1), runner=faulty, store=store)
    [result] = campaign.run()
    assert result.trials == 32
    assert {"correct", "compile", "runtime", "timeout", "correctness"} <= set(result.statuses)
    assert result.promoted
    assert result.config["FAULT"] == "none"


@pytest.mark.parametrize("finished", [0, 4, 20], ids=["at the start", "in the search", "in the finals"])
@pytest.mark.slow
def test_a_campaign_killed_at_any_moment_resumes(tmp_path: Path, finished: int) -> None:
    url = str(tmp_path / "store.db")
    command = ["tune", "add_rmsnorm", "-w", "M=64", "-w", "N=4096", "--trials", "20", "--agent", "random"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", *command, "--store", url], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 90
    while not (records := _campaigns(url)) or records[0].trials < finished:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    store, runner = open_store(url), LocalRunner()
    try:
        [record] = store.campaigns()
        assert record.state is CampaignState.RUNNING
        [task] = store.tasks(record.id)
        kept = store.trials(record.id, task)
        assert len(kept) >= finished
        [result] = Campaign.resume(record.id, runner=runner, store=store).run()
        trials = store.trials(record.id, task)
    finally:
        runner.close()
        store.close()
    assert result.trials == 20
    assert trials[: len(kept)] == kept
    assert len({trial.config for trial in trials}) == 20


def _campaigns(url: str) -> list[CampaignRecord]:
    if not Path(url).exists():
        return []
    try:
        store = open_store(url)
    except StoreError:
        return []
    try:
        return store.campaigns()
    finally:
        store.close()


@pytest.mark.parametrize(
    ("kernel", "workload", "error", "message"),
    [
        ("add_rms", {"M": 1}, TunableError, "unknown kernel"),
        ("add_rmsnorm", {"M": 1}, WorkloadError, "needs the workload field 'N'"),
        ("add_rmsnorm", {"M": 1, "N": 64, "K": 1}, WorkloadError, "no workload field 'K'; it has: M, N"),
        ("add_rmsnorm", {"M": 0, "N": 64}, WorkloadError, "M=0 is not a positive integer"),
        ("add_rmsnorm", {"M": 1, "N": 100}, WorkloadError, "N=100 is not a multiple of 64"),
        ("add_rmsnorm", "llama9", TunableError, "no workload named 'llama9'; it has: llama3-8b-decode"),
    ],
)
def test_bad_requests_are_refused(kernel: str, workload: Any, error: type[TunerError], message: str) -> None:
    with pytest.raises(error, match=message):
        task_of(kernel, workload)


def test_a_bad_agent_is_refused_before_anything_is_stored() -> None:
    store = MemoryStore()
    with pytest.raises(TunerError, match="unknown agent 'nobody'"):
        Campaign([TASK], Plan(agent="nobody"), runner=FormulaRunner(), store=store)
    assert store.campaigns() == []


@pytest.mark.parametrize(("trials", "seconds"), [(0, None), (-1, None), (5, 0.0), (5, -1.0)])
def test_a_bad_budget_is_refused(trials: int, seconds: float | None) -> None:
    with pytest.raises(TunerError, match=r"is not (a )?positive"):
        Budget(trials, seconds)


def test_the_promoted_winner_replaces_the_older_one() -> None:
    store = MemoryStore()
    run(FormulaRunner(), store, budget=Budget(16), seed=0)
    run(FormulaRunner(), store, budget=Budget(16), seed=1)
    assert len(store.winners()) == 1
    assert len(store.winners(state=State.RETIRED)) == 1


def test_resuming_on_another_device_or_with_other_tools_is_refused() -> None:
    store = MemoryStore()
    data = TASK.device.to_json()
    for changes, message in (
        ({"name": "another CPU"}, "ran on 'another CPU', and this is"),
        ({"environment": {**data["environment"], "system": "Linux 1"}}, "ran with another system"),
    ):
        elsewhere = replace(TASK, device=Device.from_json({**data, **changes}))
        campaign = store.create_campaign(Plan(agent="random").to_json(), [elsewhere])
        with pytest.raises(StoreError, match=message):
            Campaign.resume(campaign, runner=FormulaRunner(), store=store)


def test_a_better_winner_of_before_is_not_replaced_by_a_weaker_one() -> None:
    store = MemoryStore()
    run(FormulaRunner(), store, budget=Budget(16))
    _, again = run(FormulaRunner(failing=()), store, budget=Budget(2), seed=3)
    assert again.config == Config(X=9, FAULT="none")
    assert [winner.config for winner in store.winners()] == [Config(X=9, FAULT="none")]


def test_a_default_that_failed_before_fails_the_resumed_campaign_too() -> None:
    store = MemoryStore()
    with pytest.raises(TunableError):
        run(FormulaRunner(failing=(0,)), store)
    with pytest.raises(TunableError, match="default config"):
        Campaign.resume(store.campaigns()[0].id, runner=FormulaRunner(), store=store).run()


def test_a_tunable_itself_is_tuned() -> None:
    result = tune(PARABOLA, {"N": 5}, trials=16, agent="random", store=MemoryStore())
    assert load(result.task.tunable) is PARABOLA
    assert result.config == Config(X=5, FAULT="none")
    with pytest.raises(TunableError, match="no module's attribute"):
        tune(Parabola(), {"N": 5}, store=MemoryStore())


def test_an_installed_kernel_is_known_by_its_name() -> None:
    assert task_of(load("cpp:add_rmsnorm"), {"M": 1, "N": 64}).tunable == "cpp:add_rmsnorm"


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes_is_refused(seed: int) -> None:
    with pytest.raises(TunerError, match=f"seed={seed}"):
        Plan(seed=seed)
