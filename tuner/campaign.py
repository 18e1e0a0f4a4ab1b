"""The one loop: agents propose, a runner measures, the trials flow back to the agents and into the store."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from tuner.agents import Source, agent_class, lasting_name
from tuner.db import CampaignState, Store
from tuner.devices import detect
from tuner.errors import StoreError, TunableError, TunerError
from tuner.finals import Contest, Verdict, play
from tuner.meter import Deadline, Meter
from tuner.picking import keep, play_picked
from tuner.plan import Plan
from tuner.precedent import precedent_of, starts_of
from tuner.related import related
from tuner.result import Progress, Result, Stage
from tuner.runners import Recorder, Runner
from tuner.schedule import Stop, Turn, next_turn, why_stopped
from tuner.search import Search
from tuner.tunable import Tunable, load, make_task, reference_of, resolve
from tuner.types import Device, Scalar, Status, Task, Trial

__all__ = ["Campaign", "task_of"]

_WAKE_SECONDS = 0.25
_CANCEL_CHECK_SECONDS = 2.0


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
        device: What to tune for; one core of this machine's CPU by default.
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
    """Searches tasks side by side, proves what it found, and keeps everything in a store.

    A scheduler says which task proposes next (`tuner.schedule`). Trials are told to the agents in the order in which
    they were proposed, and one is proposed for each that is told: with the same plan and the same measurements a
    campaign makes the same proposals, however long each took. Trials are in flight all the time, and nothing waits for
    a batch. The finals come when all searches have ended.

    Args:
        tasks: What to tune.
        plan: How.
        runner: What evaluates configs; the caller closes it.
        store: What keeps the campaign; the caller closes it.
        watch: Called several times a second with the progress, from the thread that runs the campaign.
        id: A stored campaign to go on with; use `resume`.

    Attributes:
        sources: For each task, what its agent knows of related tasks.

    Raises:
        TunerError: the agent is unknown, or does not fit a task's space, or the plan's uses are not one for each task.
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
        # What is stored means the same wherever the campaign is resumed.
        self.plan = replace(plan, agent=lasting_name(plan.agent), in_flight=plan.in_flight or runner.capacity)
        self.runner = runner
        self.store = store
        self.watch = watch
        self._stopping = threading.Event()
        self._cancelled = False
        self._next_cancel_check = 0.0
        # What can be wrong with the request is found before anything is stored.
        plan.finals.require_decidable()
        if plan.uses and len(plan.uses) != len(self.tasks):
            raise TunerError(f"{len(plan.uses)} uses are given for {len(self.tasks)} tasks; give one for each, or none")
        self.sources = self._sources(id or "")
        self._searches = [
            Search(task, self.plan, position, sources)
            for position, (task, sources) in enumerate(zip(self.tasks, self.sources, strict=True))
        ]
        self.id = id or store.create_campaign(self.plan.to_json(), self.tasks)

    @classmethod
    def resume(
        cls, campaign: str, *, runner: Runner, store: Store, watch: Callable[[Progress], None] = lambda _: None
    ) -> Campaign:
        """Return a stored campaign, to be run from where it stopped: the agents are told all trials that there are.

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
            TunableError: the default of every task fails, or the kernel of one changed while it ran. Where others can
                be tuned, a task whose default fails ends with that.
            StoreError: a trial cannot be kept.
        """
        started = time.monotonic()
        state = CampaignState.INTERRUPTED
        self.store.set_campaign_state(self.id, CampaignState.RUNNING)
        try:
            results = self._run()
            # Asked to stop in its last finals, a campaign finishes all the same.
            if not any(result.interrupted for result in results):
                state = CampaignState.FINISHED
            elif self._cancelled:
                state = CampaignState.CANCELLED
        finally:
            self.store.set_campaign_state(self.id, state, add_wall_seconds=time.monotonic() - started)
        return results

    def _run(self) -> list[Result]:
        finished = self.store.outcomes(self.id)
        searches = self._searches
        for search in searches:
            search.resume(self.store.trials(self.id, search.task))
            search.learn_from(searches, starts_of(self.store, search.task.tunable))
        meter = Meter(self.runner, len(searches))
        if len(finished) < len(searches):
            self._search(searches, finished, meter)
        if searches and all(search.failure for search in searches):
            raise TunableError(searches[0].failure)
        results = []
        for search in searches:
            if outcome := finished.get(search.task.key):
                results.append(Result.from_json(search.task, outcome))
            else:
                results.append(self._finish(search, searches, meter))
        return results

    def _search(self, searches: Sequence[Search], finished: Mapping[str, object], meter: Meter) -> None:
        """Give trials to the tasks until nothing is worth one."""
        recorders = [self._recorder(search) for search in searches]
        in_flight: deque[tuple[Search, Turn, Future[Trial]]] = deque()
        deadline = Deadline(self.plan, len(searches))
        while True:
            # One is proposed for each that is told, so that proposals do not depend on how long anything took.
            while len(in_flight) < (self.plan.in_flight or 1) and (turn := self._turn(searches, finished, deadline)):
                search = searches[turn.position]
                deadline.start(turn.position)
                if trial := search.propose(recorders[turn.position]):
                    in_flight.append((search, turn, trial))
            if not in_flight:
                return
            search, turn, future = in_flight[0]
            self._wait(future, functools.partial(self._report, search, searches, Stage.SEARCH, meter, turn))
            in_flight.popleft()
            search.tell([future.result()])
            meter.charge(search.position)
            self._report(search, searches, Stage.SEARCH, meter, turn)

    def _turn(self, searches: Sequence[Search], finished: Mapping[str, object], deadline: Deadline) -> Turn | None:
        """Return whose turn it is, if it is anyone's."""
        if self._stopping.is_set():
            return None
        prospects = [
            search.prospect(in_time=search.task.key not in finished and deadline.allows(search.position))
            for search in searches
        ]
        return next_turn(prospects, self.plan.rules)

    def _finish(self, search: Search, searches: Sequence[Search], meter: Meter) -> Result:
        """Play the finals of a task, and keep its result; a stopped or cancelled campaign plays and keeps none."""
        self._check_cancelled()
        interrupted = self._stopping.is_set() and not search.failure
        if search.failure:
            verdict: Verdict | None = Verdict(None, None, False, 0.0, {search.default: search.failure})
        else:
            verdict = None if interrupted else self._finals(search, searches, meter)
        spent = meter.charge(search.position)
        result = replace(
            Result.of(search.task, search.default, search.trials, verdict, self.plan.objective, use=search.use),
            device_seconds=spent.device_seconds,
            build_seconds=spent.build_seconds,
            wall_seconds=spent.wall_seconds,
            stopped=Stop.INTERRUPTED if interrupted else self._why_stopped(search, searches),
        )
        if verdict is None:
            return result
        return keep(self.store, self.id, result, verdict, search.default)

    def _finals(self, search: Search, searches: Sequence[Search], meter: Meter) -> Verdict:
        report = functools.partial(self._report, search, searches, Stage.FINALS, meter)
        report()
        task = search.task
        # A winner of before plays too: only what beats it side by side replaces it. What is quarantined does not.
        before = precedent_of(self.store, task)
        trials = before.admitted(search.trials)
        plan = self.plan
        if plan.objective.beside:
            finals = functools.partial(play_picked, self.runner, task, search.default, plan, trials)
        else:
            contest = Contest(task, search.default, plan.objective, plan.finals, plan.seed)
            finals = functools.partial(play, self.runner, contest, trials, before.incumbents)
        # In a thread of its own, so that this one goes on telling who watches. It is not waited for when this one is
        # interrupted: closing the runner ends it.
        thread = ThreadPoolExecutor(1, thread_name_prefix="finals")
        verdict = thread.submit(finals)
        thread.shutdown(wait=False)
        self._wait(verdict, report)
        return before.told(verdict.result(), search.trials)

    def _wait(self, future: Future[Any], report: Callable[[], None]) -> None:
        """Wait for `future`, telling who watches, and looking now and then whether the campaign was cancelled."""
        while not future.done():
            wait([future], timeout=_WAKE_SECONDS)
            report()
            if time.monotonic() > self._next_cancel_check:
                self._check_cancelled()

    def _why_stopped(self, search: Search, searches: Sequence[Search]) -> Stop:
        if search.failure:
            return Stop.DEFAULT
        return why_stopped([search.prospect() for search in searches], search.position, self.plan.rules)

    def _sources(self, without: str) -> list[list[Source]]:
        """Return for each task what the store knows of related ones, where the agent makes use of it."""
        asks = agent_class(self.plan.agent).asks_sources(self.plan.agent.partition(":")[2])
        if not (self.plan.prior and asks):
            return [[] for _ in self.tasks]
        found = []
        for task in self.tasks:
            space = load(task.tunable).search_space(task.workload, task.device)
            known = related(self.store, task, space, without=without)
            telling = [Source(source.task, self._telling(source.trials)) for source in known]
            found.append([source for source in telling if source.trials])
        return found

    def _telling(self, trials: Sequence[Trial]) -> tuple[Trial, ...]:
        """Return those of another campaign's trials that tell of this one's objective: it may have had another."""
        every = self.plan.objective.every
        return tuple(
            trial
            for trial in trials
            if trial.measurement.status is not Status.CORRECT
            or all(one.value(trial.measurement) is not None for one in every)
        )

    def _recorder(self, search: Search) -> Recorder:
        return Recorder(
            self.runner,
            search.task,
            campaign=self.id,
            seed=self.plan.seed,
            trials=search.trials,
            record=functools.partial(self.store.add_trial, search.task),
        )

    def _check_cancelled(self) -> None:
        self._next_cancel_check = time.monotonic() + _CANCEL_CHECK_SECONDS
        if self.store.campaign(self.id).state is CampaignState.CANCELLED:
            self._cancelled = True
            self.stop()

    def _report(
        self, search: Search, searches: Sequence[Search], stage: Stage, meter: Meter, turn: Turn | None = None
    ) -> None:
        self.watch(
            Progress(
                task=search.task,
                stage=stage,
                trials=len(search.trials),
                budget=self.plan.budget,
                seconds=meter.seconds,
                best=search.tally.best,
                failures=dict(search.tally.failures),
                activity=self.runner.activity,
                resumed=sum(search.tally.resumed for search in searches),
                tasks=len(searches),
                all_trials=sum(len(search.trials) for search in searches),
                turn=turn,
            )
        )


def _require_same(task: Task, campaign: str) -> None:
    """Refuse to go on with a task whose kernel, device or tools are not what they were.

    Raises:
        TunableError: the kernel has changed.
        StoreError: the device or the environment is another.
    """
    tunable = load(task.tunable)
    if tunable.version != task.version:
        raise TunableError(f"{task.tunable} has changed since campaign {campaign} began; start a new campaign")
    now = make_task(task.tunable, tunable, task.workload, detect(f"{task.device.kind}:{task.device.count}")).device
    if now.fingerprint != task.device.fingerprint:
        raise StoreError(f"campaign {campaign} ran on {task.device.name!r}, and this is {now.name!r}; resume it there")
    changed = {name for name in now.environment if now.environment[name] != task.device.environment.get(name)}
    if changed:
        raise StoreError(
            f"campaign {campaign} ran with another {', '.join(sorted(changed))}; its trials do not compare with new "
            "ones: start a new campaign"
        )
