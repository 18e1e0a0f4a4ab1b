"""The one loop: an agent proposes, a runner measures, the trial flows back to the agent and into the store."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace

from tuner.agents import Agent, create_agent
from tuner.db import CampaignState, Store
from tuner.devices import detect
from tuner.errors import StoreError, TunableError
from tuner.finals import Contest, Verdict, play
from tuner.objective import Objective
from tuner.plan import Plan
from tuner.result import Progress, Result, Stage
from tuner.runners import Recorder, Runner
from tuner.statistics import median
from tuner.tunable import Tunable, load, make_task, reference_of, resolve
from tuner.types import Config, Device, Scalar, State, Status, Task, Trial, Winner

__all__ = ["Campaign", "task_of"]

_WAKE_SECONDS = 0.25
_CANCEL_CHECK_SECONDS = 2.0
# An agent that proposes nothing new so often in a row has no more to say.
_REPEATS_ALLOWED = 1000


def task_of(
    kernel: str | Tunable,
    workload: Mapping[str, Scalar] | str,
    device: Device | None = None,
    *,
    needs_tools: bool = True,
) -> Task:
    """Return the task of tuning `kernel` for `workload`.

    Args:
        kernel: An operator (`add_rmsnorm`), one with its toolchain (`cpp:add_rmsnorm`), or a reference to your own
            tunable (`path/to/file.py:attribute`, `module:attribute`), or the tunable itself, if it is a module's
            attribute.
        workload: The workload's fields, or the name of one of the kernel's workloads.
        device: What to tune for; this machine's CPU by default.
        needs_tools: Whether a missing compiler is an error; for a lookup it is not.

    Raises:
        TunableError: the kernel is unknown, cannot be loaded, or does not run on the device.
        WorkloadError: the workload does not fit the kernel.
        MissingDependencyError: a tool that building needs is not installed.
    """
    device = device or detect("cpu")
    reference = resolve(kernel, device.kind) if isinstance(kernel, str) else reference_of(kernel)
    tunable = load(reference)
    if isinstance(workload, str):
        if workload not in tunable.workloads:
            known = ", ".join(tunable.workloads) or "none"
            raise TunableError(f"{tunable.name} has no workload named {workload!r}; it has: {known}")
        workload = tunable.workloads[workload]
    return make_task(reference, tunable, tunable.workload(workload), device, needs_tools=needs_tools)


class Campaign:
    """Searches tasks one after another, proves what it found, and keeps everything in a store.

    Trials are told to the agent in the order of their numbers, and one is proposed for each that is told: with the same
    plan and the same measurements a campaign makes the same proposals, however long each took. Trials are in flight all
    the time, and nothing waits for a batch.

    Args:
        tasks: What to tune.
        plan: How.
        runner: What evaluates configs; the caller closes it.
        store: What keeps the campaign; the caller closes it.
        watch: Called several times a second with the progress, from the thread that runs the campaign.
        id: A stored campaign to go on with; use `resume`.

    Raises:
        TunerError: the agent is unknown, or does not fit a task's space.
        StoreError: the campaign cannot be stored.

    Example:
        >>> from tuner.db import MemoryStore
        >>> from tuner.plan import Budget
        >>> from tuner.runners import LocalRunner
        >>> runner = LocalRunner()
        >>> task = task_of("tuner.testing.toys:PARABOLA", {"N": 8})
        >>> plan = Plan(agent="random", budget=Budget(trials=30))
        >>> [result] = Campaign([task], plan, runner=runner, store=MemoryStore()).run()
        >>> runner.close()
        >>> result.config
        Config(X=8, FAULT='none')
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        plan: Plan = Plan(),
        *,
        runner: Runner,
        store: Store,
        watch: Callable[[Progress], None] = lambda _: None,
        id: str | None = None,  # noqa: A002 - what users call it
    ) -> None:
        self.tasks = list(tasks)
        self.plan = plan if plan.in_flight else replace(plan, in_flight=runner.capacity)
        self.runner = runner
        self.store = store
        self.watch = watch
        self._stopping = threading.Event()
        self._cancelled = False
        # What can be wrong with the request is found before anything is stored.
        for task in self.tasks:
            self._agent(task)
        self.id = id or store.create_campaign(self.plan.to_json(), self.tasks)

    @classmethod
    def resume(
        cls, campaign: str, *, runner: Runner, store: Store, watch: Callable[[Progress], None] = lambda _: None
    ) -> Campaign:
        """Return a stored campaign, to be run from where it stopped: the agent is told all trials that there are.

        Raises:
            StoreError: there is no such campaign, it has finished, or it ran on another device or with other tools.
            TunableError: a kernel has changed since.
        """
        record = store.campaign(campaign)
        if record.state is CampaignState.FINISHED:
            raise StoreError(f"campaign {record.id} has finished; see it with: tuner campaign show {record.id}")
        tasks = store.tasks(record.id)
        for task in tasks:
            _require_same(task, record.id)
        plan = Plan.from_json(record.spec)
        return cls(tasks, plan, runner=runner, store=store, watch=watch, id=record.id)

    def stop(self) -> None:
        """Ask the campaign to finish what is being measured, keep it, and end without finals; from any thread."""
        self._stopping.set()

    def run(self) -> list[Result]:
        """Tune every task and return the results in the order of the tasks.

        Raises:
            TunableError: a task's default config fails, or its kernel changed while it ran.
            StoreError: a trial cannot be kept.
        """
        started = time.monotonic()
        state = CampaignState.INTERRUPTED
        self.store.set_campaign_state(self.id, CampaignState.RUNNING)
        finished = self.store.outcomes(self.id)
        results: list[Result] = []
        try:
            for task in self.tasks:
                if outcome := finished.get(task.key):
                    results.append(Result.from_json(task, outcome))
                elif not self._stopping.is_set():
                    results.append(self._run_task(task))
            # Asked to stop in its last finals, a campaign finishes all the same.
            if len(results) == len(self.tasks) and not any(result.interrupted for result in results):
                state = CampaignState.FINISHED
            elif self._cancelled:
                state = CampaignState.CANCELLED
        finally:
            self.store.set_campaign_state(self.id, state, add_wall_seconds=time.monotonic() - started)
        return results

    def _run_task(self, task: Task) -> Result:
        started, before = time.monotonic(), self.runner.activity
        default = load(task.tunable).default(task.workload, task.device)
        trials = self._search(task, default)
        interrupted = self._stopping.is_set()
        if interrupted:
            verdict = None
        else:
            self._report(task, Stage.FINALS, _Tally(self.plan.objective, trials), started)
            # A winner of before plays too: only what beats it side by side replaces it.
            before_us = [w.config for w in self.store.winners(tunable=task.tunable) if w.task.key == task.key]
            contest = Contest(task, default, self.plan.objective, self.plan.finals, self.plan.seed)
            verdict = play(self.runner, contest, trials, before_us)
        result = self._result(task, default, trials, verdict)
        after = self.runner.activity
        result = replace(
            result,
            device_seconds=after.device_seconds - before.device_seconds,
            build_seconds=after.build_seconds - before.build_seconds,
            wall_seconds=time.monotonic() - started,
        )
        if interrupted:
            return result
        outcome = result.to_json()
        if verdict and verdict.config and verdict.evidence and not verdict.promoted:
            # A promoted config's evidence is its winner's; what kept the default is evidence too.
            outcome["final"] = {"config": dict(verdict.config), "evidence": verdict.evidence.to_json()}
        return replace(result, winner=self.store.finish_task(self.id, task, outcome, result.winner))

    def _search(self, task: Task, default: Config) -> list[Trial]:
        started = time.monotonic()
        trials = self.store.trials(self.id, task)
        for trial in trials:
            _require_working(task, default, trial)
        agent = self._agent(task)
        agent.tell(trials)
        recorder = Recorder(
            self.runner,
            task,
            campaign=self.id,
            seed=self.plan.seed,
            trials=trials,
            record=functools.partial(self.store.add_trial, task),
        )
        proposals = _Proposals(agent, default, [trial.config for trial in trials])
        in_flight: deque[Future[Trial]] = deque()
        tally = _Tally(self.plan.objective, trials)
        next_cancel_check = started + _CANCEL_CHECK_SECONDS
        while True:
            # One is proposed for each that is told, so that proposals do not depend on how long anything took.
            while len(in_flight) < (self.plan.in_flight or 1) and self._open(len(trials) + len(in_flight), started):
                config = proposals.next()
                if config is None:
                    break
                in_flight.append(recorder.submit(config))
            if not in_flight:
                return trials
            while not in_flight[0].done():
                wait([in_flight[0]], timeout=_WAKE_SECONDS)
                self._report(task, Stage.SEARCH, tally, started)
                if time.monotonic() > next_cancel_check:
                    self._check_cancelled()
                    next_cancel_check = time.monotonic() + _CANCEL_CHECK_SECONDS
            trial = in_flight.popleft().result()
            _require_working(task, default, trial)
            agent.tell([trial])
            trials.append(trial)
            tally.add(trial)
            self._report(task, Stage.SEARCH, tally, started)

    def _open(self, proposed: int, started: float) -> bool:
        """Return whether the budget allows another trial."""
        budget = self.plan.budget
        in_time = budget.seconds is None or time.monotonic() - started < budget.seconds
        return proposed < budget.trials and in_time and not self._stopping.is_set()

    def _check_cancelled(self) -> None:
        if self.store.campaign(self.id).state is CampaignState.CANCELLED:
            self._cancelled = True
            self.stop()

    def _agent(self, task: Task) -> Agent:
        space = load(task.tunable).search_space(task.workload, task.device)
        return create_agent(self.plan.agent, space, self.plan.objective, seed=self.plan.seed)

    def _report(self, task: Task, stage: Stage, tally: _Tally, started: float) -> None:
        self.watch(
            Progress(
                task=task,
                stage=stage,
                trials=tally.trials,
                budget=self.plan.budget,
                seconds=time.monotonic() - started,
                best=tally.best,
                failures=dict(tally.failures),
                activity=self.runner.activity,
                resumed=tally.resumed,
            )
        )

    def _result(self, task: Task, default: Config, trials: Sequence[Trial], verdict: Verdict | None) -> Result:
        statuses = Counter(str(trial.measurement.status) for trial in trials)
        result = Result(task=task, trials=len(trials), statuses=statuses, config=default)
        if verdict and verdict.evidence and verdict.config:
            evidence = verdict.evidence
            result = replace(
                result,
                default_seconds=evidence.default_seconds,
                best_seconds=evidence.config_seconds,
                speedup=evidence.speedup,
                speedup_interval=evidence.interval,
            )
            if verdict.promoted:
                winner = Winner(task, verdict.config, evidence, State.PROMOTED, self.id)
                return replace(result, promoted=True, config=verdict.config, winner=winner)
            return result
        return _estimate(result, default, trials, self.plan, interrupted=verdict is None)


def _require_same(task: Task, campaign: str) -> None:
    """Refuse to go on with a task whose kernel, device or tools are not what they were.

    Raises:
        TunableError: the kernel has changed.
        StoreError: the device or the environment is another.
    """
    tunable = load(task.tunable)
    if tunable.version != task.version:
        raise TunableError(f"{task.tunable} has changed since campaign {campaign} began; start a new campaign")
    now = make_task(task.tunable, tunable, task.workload, detect(task.device.kind)).device
    if now.fingerprint != task.device.fingerprint:
        raise StoreError(f"campaign {campaign} ran on {task.device.name!r}, and this is {now.name!r}; resume it there")
    changed = {name for name in now.environment if now.environment[name] != task.device.environment.get(name)}
    if changed:
        raise StoreError(
            f"campaign {campaign} ran with another {', '.join(sorted(changed))}; its trials do not compare with new "
            "ones: start a new campaign"
        )


def _require_working(task: Task, default: Config, trial: Trial) -> None:
    """Refuse to go on when the default config does not work.

    Raises:
        TunableError: `trial` is that of the default, and failed.
    """
    if trial.config == default and trial.measurement.status is not Status.CORRECT:
        raise TunableError(
            f"the default config of {task.tunable} fails ({trial.measurement.status}): {trial.measurement.error}; "
            "a default has to work, for it is what winners are measured against"
        )


class _Tally:
    """What progress tells of the trials so far, kept up as they come."""

    def __init__(self, objective: Objective, trials: Sequence[Trial] = ()) -> None:
        self._objective = objective
        self.trials = 0
        self.best = math.inf
        self.failures: Counter[Status] = Counter()
        for trial in trials:
            self.add(trial)
        self.resumed = self.trials

    def add(self, trial: Trial) -> None:
        """Count one more trial."""
        self.trials += 1
        self.best = min(self.best, self._objective.score(trial))
        if trial.measurement.status is not Status.CORRECT:
            self.failures[trial.measurement.status] += 1


class _Proposals:
    """The default first, then what the agent asks for, each config once."""

    def __init__(self, agent: Agent, default: Config, known: Sequence[Config]) -> None:
        self._agent = agent
        self._known = set(known)
        self._first = default

    def next(self) -> Config | None:
        """Return the next config; None when the agent has no more."""
        if self._first not in self._known:
            self._known.add(self._first)
            return self._first
        for _ in range(_REPEATS_ALLOWED):
            asked = self._agent.ask(1)
            if not asked:
                return None
            if asked[0] not in self._known:
                self._known.add(asked[0])
                return asked[0]
        return None


def _estimate(result: Result, default: Config, trials: Sequence[Trial], plan: Plan, *, interrupted: bool) -> Result:
    """Return `result` with what the search alone says: times, but no speed-up, which only a final measures."""
    scores = {trial.number: plan.objective.score(trial) for trial in trials}
    correct = [trial for trial in trials if math.isfinite(scores[trial.number])]
    if not correct:
        return replace(result, interrupted=interrupted)
    best = min(correct, key=lambda trial: scores[trial.number])
    metric = plan.objective.metric
    first = next((trial for trial in correct if trial.config == default), None)
    return replace(
        result,
        interrupted=interrupted,
        default_seconds=median(first.measurement.samples[metric]) if first else None,
        best_seconds=median(best.measurement.samples[metric]),
        config=best.config if interrupted else default,
    )
