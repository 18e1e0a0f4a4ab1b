"""What all environments of one search share: an episode is a search with a budget."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tuner.envs.problem import CONTEXT_LENGTH, Problem
from tuner.envs.reward import LogSpeedup, Outcome, Reward
from tuner.errors import TunerError
from tuner.types import Config, Status, Trial

__all__ = ["PROGRESS", "Pending", "SearchEnv", "search_observation", "search_space_of"]

ObsType = TypeVar("ObsType")
ActType = TypeVar("ActType")

PROGRESS: tuple[str, ...] = ("best", "last", "trend", "left", "stagnation", "failures", "repeated")
"""What an observation's `progress` says.

The logarithm of the speed-up of the best and of the last config over the first trial that worked, and that of the last
eight trials alone; the share of the budget that is left; the shares of the trials since the last improvement, and of
those that failed; whether the last config was a repetition.
"""

_TREND = 8
_CLIP = 16.0
# An episode of so many budgets is cut off: repetitions cost nothing, and might go on for ever.
_MOST_BUDGETS = 4


@dataclass(frozen=True, slots=True)
class Pending:
    """A step that waits for its trial.

    Attributes:
        config: What is tried.
        trial: Its future trial.
        moved: Whether the action meant another config, which is not valid.
    """

    config: Config
    trial: Future[Trial]
    moved: bool


class SearchEnv(gymnasium.Env[ObsType, ActType], Generic[ObsType, ActType]):
    """An episode tries configs of one problem, the default first, until its budget is spent.

    A step has two halves, so that a vector environment can have the trials of many searches in flight: `begin` says
    which config an action means and submits it, `end` waits for it. `step` does both. A config that was tried in the
    same episode costs nothing, has no reward but what the reward object says of repetitions, and is told apart in the
    info; one that another episode has measured costs budget, but is not measured again.

    Args:
        problem: What is searched; a random space if None.
        budget: Trials of an episode, without the default's.
        reward: What a step is worth.

    The info of a step has: `config` (a dict), `status`, `score` (None where it failed), `best_score` (None before one
    worked), `repeated`, `moved` (the action was not valid, and this is the nearest config that is), `trials`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own name

    def __init__(self, problem: Problem | None = None, *, budget: int = 100, reward: Reward = LogSpeedup()) -> None:
        if budget < 1:
            raise TunerError(f"a budget of {budget} trials allows none; give 1 or more")
        self.problem = problem or Problem.random(seed=0)
        self.budget = budget
        self.reward = reward
        self.tried: dict[Config, Trial] = {}
        self.last: Config = self.problem.default
        self.best: Config = self.problem.default
        self.last_status = Status.CORRECT
        self._logs: list[float] = []
        self._first = self._best_log = self._last_log = math.inf
        self._recent: deque[float] = deque(maxlen=_TREND)
        self._steps = self._since = self._failures = 0
        self._repeated = False

    @abstractmethod
    def meaning(self, action: ActType) -> tuple[Config, bool]:
        """Return the config that `action` means, and whether it had to be moved to a valid one."""

    @abstractmethod
    def observe(self) -> ObsType:
        """Return what the environment shows now."""

    def on_trial(self, trial: Trial) -> None:
        """Be told each new trial of the episode, the default's included."""

    def on_restart(self) -> None:
        """Be told that an episode begins, before its default is tried."""

    def on_started(self) -> None:
        """Be told that an episode's default was tried."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObsType, dict[str, Any]]:
        """Begin a new search by trying the default config."""
        super().reset(seed=seed)
        self.tried = {}
        self._logs = []
        self._first = self._best_log = self._last_log = math.inf
        self._recent.clear()
        self._steps = self._since = self._failures = 0
        self._repeated = False
        self.last = self.best = self.problem.default
        self.on_restart()
        trial = self.problem.evaluate(self.problem.default).result()
        self._take(trial)
        self._since = self._failures = 0
        self.on_started()
        return self.observe(), self._info(trial, repeated=False, moved=False)

    def step(self, action: ActType) -> tuple[ObsType, float, bool, bool, dict[str, Any]]:
        """Try the config that `action` means, and wait for its trial."""
        return self.end(self.begin(action))

    def begin(self, action: ActType) -> Pending:
        """Submit the config that `action` means; `end` gives the step's results."""
        config, moved = self.meaning(action)
        return Pending(config, self.problem.evaluate(config), moved)

    def end(self, pending: Pending) -> tuple[ObsType, float, bool, bool, dict[str, Any]]:
        """Wait for the trial of a step, and return what `step` returns."""
        trial = pending.trial.result()
        self._steps += 1
        before = self._best_log
        repeated = pending.config in self.tried
        if repeated:
            self.last, self.last_status = trial.config, trial.measurement.status
            self._last_log = self._log(trial)
        else:
            self._take(trial)
        self._repeated = repeated
        outcome = self._outcome(before, self._log(trial), repeated=repeated)
        reward = float(self.reward(outcome)[0])
        spent = self.trials >= self.budget or not self.has_more
        cut = not spent and self._steps >= _MOST_BUDGETS * self.budget
        return self.observe(), reward, spent, cut, self._info(trial, repeated=repeated, moved=pending.moved)

    def try_config(self, config: Config) -> None:
        """Try a config outside of any step, at the cost of a trial; one that was tried already is left alone."""
        if config not in self.tried:
            self._take(self.problem.evaluate(config).result())

    @property
    def trials(self) -> int:
        """How many configs the episode has paid for: the default's trial is free."""
        return max(len(self.tried) - 1, 0)

    @property
    def has_more(self) -> bool:
        """Whether a config is left that was not tried; True where the space cannot tell its size."""
        try:
            return len(self.tried) < self.problem.space.size
        except TunerError:
            return True

    @property
    def progress(self) -> NDArray[np.float32]:
        """The numbers that `PROGRESS` describes."""

        def speedup(log: float, over: float) -> float:
            return over - log if math.isfinite(log) and math.isfinite(over) else 0.0

        trials = max(self.trials, 1)
        oldest = self._recent[0] if self._recent else math.inf
        numbers = [
            speedup(self._best_log, self._first),
            speedup(self._last_log, self._first),
            speedup(self._best_log, oldest),
            1 - self.trials / self.budget,
            min(self._since / trials, 1.0),
            min(self._failures / trials, 1.0),
            float(self._repeated),
        ]
        return np.array(numbers, dtype=np.float32).clip(-_CLIP, _CLIP)

    def _take(self, trial: Trial) -> None:
        log = self._log(trial)
        self.tried[trial.config] = trial
        self.last, self.last_status, self._last_log = trial.config, trial.measurement.status, log
        self._since += 1
        self._failures += not math.isfinite(log)
        if math.isfinite(log):
            self._logs.append(log)
            if not math.isfinite(self._first):
                self._first = log
        if log < self._best_log:
            self.best, self._best_log, self._since = trial.config, log, 0
        self._recent.append(self._best_log)
        self.on_trial(trial)

    def _log(self, trial: Trial) -> float:
        score = self.problem.objective.score(trial)
        return math.log(score) if 0 < score < math.inf else math.inf

    def _outcome(self, before: float, log: float, *, repeated: bool) -> Outcome:
        optimum = self.problem.optimum
        numbers = (
            before,
            log,
            math.nan if optimum is None else math.log(optimum),
            max(float(np.std(self._logs)), 1e-3) if self._logs else 1.0,
            1 - self.trials / self.budget,
        )
        first, new, best, deviation, left = (np.array([number]) for number in numbers)
        return Outcome(first, new, np.array([repeated]), best, deviation, left)

    def _info(self, trial: Trial, *, repeated: bool, moved: bool) -> dict[str, Any]:
        score = self.problem.objective.score(trial)
        return {
            "config": dict(trial.config),
            "status": trial.measurement.status.value,
            "score": score if math.isfinite(score) else None,
            "best_score": math.exp(self._best_log) if math.isfinite(self._best_log) else None,
            "repeated": repeated,
            "moved": moved,
            "trials": self.trials,
        }


def search_space_of(problem: Problem) -> gymnasium.spaces.Dict:
    """Return the observation space of environments whose actions are about one space's parameters.

    `config` and `best` are the last config and the best one, each parameter's index as a share of its range; `status`
    is how the last trial ended, in the order of `Status`; `progress` is described by `PROGRESS`; `context` is the
    workload and the device as numbers.
    """
    parameters = len(problem.space.names)
    return gymnasium.spaces.Dict(
        {
            "best": gymnasium.spaces.Box(0.0, 1.0, (parameters,), np.float32),
            "config": gymnasium.spaces.Box(0.0, 1.0, (parameters,), np.float32),
            "context": gymnasium.spaces.Box(-1.0, 2.0, (CONTEXT_LENGTH,), np.float32),
            "progress": gymnasium.spaces.Box(-_CLIP, _CLIP, (len(PROGRESS),), np.float32),
            "status": gymnasium.spaces.Discrete(len(Status)),
        }
    )


def search_observation(env: SearchEnv[Any, Any]) -> dict[str, Any]:
    """Return what `search_space_of` describes."""
    space = env.problem.space
    scale = np.maximum(np.array(space.shape) - 1, 1)
    return {
        "best": (space.encode(env.best) / scale).astype(np.float32),
        "config": (space.encode(env.last) / scale).astype(np.float32),
        "context": env.problem.context.copy(),
        "progress": env.progress,
        "status": np.int64(list(Status).index(env.last_status)),
    }
