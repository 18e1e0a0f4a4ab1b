"""One task's search: its agent, what it has proposed, and what it learned from nearby workloads."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from operator import itemgetter

from tuner.agents import Source, create_agent
from tuner.errors import TunerError
from tuner.nearby import NEARBY, distance
from tuner.objective import Objective
from tuner.opening import Opening
from tuner.plan import Plan
from tuner.runners import Recorder
from tuner.schedule import RESOLUTION, WARM_UP, Curve, Prospect
from tuner.tunable import Hinting, load
from tuner.types import Config, Measurement, Status, Task, Trial, Winner, Workload

__all__ = ["Search", "Start", "Tally"]

# An agent that proposes nothing new so often in a row has no more to say.
_REPEATS_ALLOWED = 1000
# Of so many nearest workloads the best configs are tried.
_STARTS = 3
_SEEDS = 2**32


@dataclass(frozen=True, slots=True)
class Start:
    """The best config of another workload of the same tunable on the same device.

    Attributes:
        workload: Where it is the best.
        config: The config.
        log: Logarithm of its score there: its time over the default's.
    """

    workload: Workload
    config: Config
    log: float


class Search:
    """Proposes a task's configs: the default, the best of nearby workloads, an opening, then what the agent asks for.

    Each is proposed once.

    All that it decides follows from the task's own trials in the order of their numbers and from the best of other
    searches: nothing from the order in which trials of different tasks came.

    Args:
        task: What is tuned.
        plan: How.
        position: The task's place in the campaign.
        sources: What is known of related tasks.

    Attributes:
        failure: Why its default cannot be used, and it proposes nothing more; empty while it can.

    Raises:
        TunerError: the agent is unknown, or does not fit the task's space.
    """

    def __init__(self, task: Task, plan: Plan, position: int = 0, sources: Sequence[Source] = ()) -> None:
        tunable = load(task.tunable)
        self.task = task
        self.position = position
        self.default = tunable.default(task.workload, task.device)
        self.use = plan.uses[position] if plan.uses else 1.0
        self.curve = Curve(plan.objective)
        self._objective = plan.objective
        self.trials: list[Trial] = []
        self.tally = Tally(plan.objective)
        self.exhausted = False
        self.failure = ""
        self._space = tunable.search_space(task.workload, task.device)
        seed = (plan.seed + position) % _SEEDS
        tries = tunable.first_tries(task.workload, task.device) if isinstance(tunable, Hinting) else ()
        self._opening = Opening(self._space, self.default, tries, plan.objective)
        self._agent = create_agent(plan.agent, self._space, plan.objective, seed=seed, sources=sources)
        self._known: set[Config] = set()
        # Both with their distances, the nearest first.
        self._winners: list[tuple[float, Start]] = []
        self._others: list[tuple[float, Search]] = []

    @property
    def proposed(self) -> int:
        """Number of the trials so far, those in flight included."""
        return len(self._known)

    def resume(self, trials: Sequence[Trial]) -> None:
        """Learn from the trials of an earlier run."""
        self._known.update(trial.config for trial in trials)
        self.tell(trials)
        self.tally.resumed = len(trials)

    def learn_from(self, others: Iterable[Search], winners: Iterable[Winner]) -> None:
        """Say which searches and which winners of before this one may start from; they are looked at when needed."""
        here = self.task.workload
        same = [s for s in others if s is not self and _of_one_kind(s.task, self.task)]
        self._others = sorted(((distance(s.task.workload, here), s) for s in same), key=itemgetter(0))
        starts = [
            Start(winner.task.workload, winner.config, -math.log(winner.evidence.speedup))
            for winner in winners
            if _of_one_kind(winner.task, self.task) and winner.evidence.metric == self._objective.metric
        ]
        self._winners = sorted(((distance(start.workload, here), start) for start in starts), key=itemgetter(0))[
            :_STARTS
        ]

    def prospect(self, *, in_time: bool = True) -> Prospect:
        """Return what is known of the task now; `in_time` says whether the clock allows it more trials."""
        lead = 0.0
        if self.trials and (start := self._start()):
            lead = max(0.0, -start.log - self.curve.lead)
        return Prospect(self.curve, self.proposed, self.use, lead, in_time and not self.exhausted and not self.failure)

    def propose(self, recorder: Recorder) -> Future[Trial] | None:
        """Submit the next config; None when there is none left, for good."""
        if self.default not in self._known:
            self._known.add(self.default)
            return recorder.submit(self.default)
        if start := self._start():
            self._known.add(start.config)
            return recorder.submit(start.config, {NEARBY: start.workload.json}, incumbent=self._incumbent)
        if (first := self._opening.propose(self._known, self.trials)) is not None:
            self._known.add(first)
            return recorder.submit(first, incumbent=self._incumbent)
        for _ in range(_REPEATS_ALLOWED):
            asked = self._agent.ask(1)
            if not asked:
                break
            if asked[0] not in self._known:
                self._known.add(asked[0])
                return recorder.submit(asked[0], incumbent=self._incumbent)
        self.exhausted = True
        return None

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from finished trials, in the order of their numbers; a default that cannot be used is a `failure`."""
        for trial in trials:
            if trial.config == self.default:
                self.failure = self._why_unusable(trial.measurement)
        if self.failure:
            self.trials += trials
            return
        self._agent.tell(trials)
        for trial in trials:
            self.trials.append(trial)
            self.curve.add(trial)
            self.tally.add(trial)

    def _why_unusable(self, default: Measurement) -> str:
        """Return why nothing can be measured against the default: it failed, or lacks what a limit reads."""
        if default.status is not Status.CORRECT:
            return (
                f"the default config of {self.task.tunable} fails ({default.status}): "
                f"{default.error}; a default has to work, for it is what winners are measured against"
            )
        try:
            self._objective.check(default)
        except TunerError as error:
            return f"{self.task.tunable}: {error}"
        return ""

    @property
    def _incumbent(self) -> float | None:
        """Score of the best config that has been told, relative to the default; None where trials are not paired."""
        if self._objective.beside:
            # What is bad in one objective may be the best of another.
            return None
        paired = self.trials and self._objective.is_paired(self.trials[0].measurement)
        return self.tally.best if paired and math.isfinite(self.tally.best) else None

    def _start(self) -> Start | None:
        """Return the nearest workload's best config that is worth a trial here.

        During its warm-up a task tries the best of the nearest workloads whatever it says; later, when one of them has
        found something new, only if that is ahead of what was found here.
        """
        warming_up = self.proposed < WARM_UP
        for start in self._nearest():
            ahead = -start.log - self.curve.lead > RESOLUTION
            if start.config not in self._known and (warming_up or ahead) and self._space.contains(start.config):
                return start
        return None

    def _nearest(self) -> list[Start]:
        """Return the best of the nearest workloads that have anything better than their default."""
        found = (
            (away, Start(search.task.workload, search.curve.leader, -search.curve.lead))
            for away, search in self._others
            if search.curve.leader not in (None, search.default)
        )
        nearest = sorted([*self._winners, *itertools.islice(found, _STARTS)], key=itemgetter(0))
        return [start for _, start in nearest[:_STARTS]]


class Tally:
    """What progress tells of a task's trials so far, kept up as they come."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self.trials = 0
        self.best = math.inf
        self.failures: Counter[Status] = Counter()
        self.resumed = 0

    def add(self, trial: Trial) -> None:
        """Count one more trial."""
        self.trials += 1
        self.best = min(self.best, self._objective.score(trial))
        if trial.measurement.status is not Status.CORRECT:
            self.failures[trial.measurement.status] += 1


def _of_one_kind(one: Task, other: Task) -> bool:
    """Return whether the best config of one task may be worth a try on the other; versions may differ."""
    return (
        one.tunable == other.tunable
        and one.device.fingerprint == other.device.fingerprint
        and math.isfinite(distance(one.workload, other.workload))
    )
