"""Which task of a campaign gets the next trial: the one whose expected gain, times its use in production, is largest.

The idea is that of TVM's task scheduler (Zheng et al., Ansor, OSDI 2020, section 6): descend the sum of all tasks'
latencies, each weighted by its use, along the gradient with respect to the trials given. A task's gradient is estimated
from how its own best has fallen of late, from an optimistic bound that shrinks with the trials it has had, and from
what similar tasks have reached.

Here all three are shares of the task's own time, in logarithms, which is what trials measure:

- *Slope.* The best of `t` trials falls about in proportion to log t: among configs in no particular order, trial t + 1
  is the best so far with probability 1 / (t + 1). What was gained from t / 2 to t is therefore expected once more from
  t to 2t, and ln(1 + k/t) / ln 2 of it from the next k trials.
- *Optimism.* A task that gained nothing of late might still: `OPTIMISM` / t is averaged in, as if another such window
  had been seen that gained so much.
- *Similarity.* Where the best config of a nearby workload was not tried here, half of what it is ahead is expected of
  it.

Screening is noisy, and the least of many noisy times always falls. So a trial becomes the best only if it is better
than the best by more than the noise of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.objective import Direction, Objective
from tuner.statistics import median, median_error
from tuner.types import Config, Trial

__all__ = [
    "LOOK_AHEAD",
    "WARM_UP",
    "Curve",
    "Prospect",
    "Reason",
    "Rules",
    "Schedule",
    "Stop",
    "Turn",
    "next_turn",
    "why_stopped",
]

LOOK_AHEAD = 10
"""Trials for which an expected gain is told, and compared with a budget's patience."""

WARM_UP = 8
"""Trials of its own that each task gets before gains are compared: without them there is no slope."""

OPTIMISM = 3.0
"""Divided by `t`, the logarithm of what doubling `t` trials may gain where nothing was gained of late.

On forty recorded searches of ten GPU kernels, the next ten trials were expected to save 23% at t = 8, 8% at 24, 3.6% at
32 and 1% at 64, and saved 23%, 2%, 2.8% and 0.3%: right at first and optimistic later, as it should be.
"""

RESOLUTION = 0.02
"""Smallest logarithm of a ratio that counts as a gain, however small the noise looks."""

# Standard errors by which a new best must be better: of a hundred configs that are all as fast as the best, seldom one
# passes for faster.
_ERRORS = 3.0
# Share of a nearby workload's lead that its config is expected to keep here.
_TRANSFER = 0.5


class Schedule(StrEnum):
    """How a campaign gives its trials to its tasks."""

    GAIN = "gain"
    EACH = "each"


class Reason(StrEnum):
    """Why a task gets the next trial."""

    WARM_UP = "warm-up"
    NEARBY = "nearby"
    GAIN = "gain"
    ORDER = "order"


class Stop(StrEnum):
    """Why a task's search ended."""

    TRIALS = "trials"
    SECONDS = "seconds"
    PATIENCE = "patience"
    SPACE = "space"
    INTERRUPTED = "interrupted"
    DEFAULT = "default"
    """Its default fails, so that there is nothing to measure against."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How trials are given away.

    Attributes:
        trials: Trials for each task; the mean where tasks share them.
        patience: A task rests while its next `LOOK_AHEAD` trials are expected to save less than this share of its time.
        schedule: Whether tasks share the trials, or each has its own.
    """

    trials: int
    patience: float = 0.0
    schedule: Schedule = Schedule.GAIN

    def used_up(self, prospects: Sequence[Prospect], position: int) -> bool:
        """Return whether no trials are left for the task at `position`.

        One of which no trial was usable has no gain to be compared with the others', and takes no more than its share.
        """
        own = prospects[position]
        alone = self.schedule is Schedule.EACH or not math.isfinite(own.curve.log)
        if alone and own.proposed >= self.trials:
            return True
        given = sum(prospect.proposed for prospect in prospects)
        return self.schedule is Schedule.GAIN and given >= self.trials * len(prospects)


class Curve:
    """A task's best so far after each of its trials, noise taken out.

    Attributes:
        config: The best config, better than those before it by more than the noise; None before a trial worked.
        leader: The config of the least score, its noise added: worth a trial elsewhere, and no proof of a gain.

    Example:
        >>> from tuner.types import Measurement, Status
        >>> curve = Curve(Objective())
        >>> for seconds in (2.0, 1.0, 1.01):
        ...     samples = {"seconds": (seconds,) * 9, "reference_seconds": (2.0,) * 9}
        ...     curve.add(Trial(Config(X=int(100 * seconds)), Measurement(Status.CORRECT, samples)))
        >>> curve.config, curve.best_absolute, round(curve.gain, 3)
        (Config(X=100), 1.0, 0.5)
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._logs: list[float] = []
        self._error = 0.0
        self._errors: list[float] = []
        self._references: list[float] = []
        self._least = math.inf
        self.config: Config | None = None
        self.leader: Config | None = None

    def __len__(self) -> int:
        return len(self._logs)

    @property
    def log(self) -> float:
        """Logarithm of the best score; infinite before a trial worked."""
        return self._logs[-1] if self._logs else math.inf

    @property
    def best_absolute(self) -> float:
        """The best score times what it is relative to: for times, seconds; infinite before a trial worked."""
        return math.exp(self.log) * (median(self._references) if self._references else 1.0)

    @property
    def relative(self) -> float:
        """Logarithm of the best score over that of the first trial that worked, which is the default's; 0 without."""
        return self.log - next(filter(math.isfinite, self._logs)) if math.isfinite(self.log) else 0.0

    @property
    def lead(self) -> float:
        """Logarithm of the default's score over the leader's, its noise added, so that luck is no lead; at least 0."""
        return max(0.0, self.log - self.relative - self._least) if math.isfinite(self.log) else 0.0

    @property
    def gain(self) -> float:
        """Share of the default's time that the best config saves."""
        return 1 - math.exp(self.relative)

    @property
    def slope(self) -> float:
        """Logarithm that was gained over the second half of the trials."""
        half = self._logs[len(self._logs) // 2 - 1] if len(self._logs) > 1 else math.inf
        return half - self.log if math.isfinite(half) else 0.0

    def add(self, trial: Trial) -> None:
        """Go on with the next trial; one that failed leaves the best as it is."""
        score = self._objective.score(trial)
        best = self.log
        if math.isfinite(score):
            log, error = math.log(score), 0.0
            if logs := self._objective.gains(trial.measurement):
                if reference := self._objective.value(trial.measurement, reference=True):
                    minimized = self._objective.direction is Direction.MINIMIZE
                    self._references.append(reference if minimized else 1 / reference)
                self._errors.append(median_error(logs))
                error = self._errors[-1]
            # An error from a few samples is itself uncertain, and too small a one would let luck pass.
            usual = median(self._errors) if self._errors else 0.0
            own = max(error, usual)
            if log + _ERRORS * own < self._least:
                self._least, self.leader = log + _ERRORS * own, trial.config
            noise = math.hypot(own, max(self._error, usual))
            if log < best - max(RESOLUTION, _ERRORS * noise):
                best, self._error, self.config = log, error, trial.config
        self._logs.append(best)


@dataclass(frozen=True, slots=True)
class Prospect:
    """What is known of a task when a trial is to be given away.

    Attributes:
        curve: Its best so far.
        proposed: Its trials, those in flight included.
        use: How often it is called in production, relative to the others.
        lead: How far the best config of a nearby workload that was not tried here is ahead, in logarithms; 0 without.
        open: Whether it may propose: its agent has more to say, and its time is not over.
    """

    curve: Curve
    proposed: int
    use: float = 1.0
    lead: float = 0.0
    open: bool = True

    def expected(self, trials: int) -> float:
        """Return the share of its time that so many more trials are expected to save; all of it before the first."""
        if not self.proposed:
            return 1.0
        doublings = math.log1p(trials / self.proposed) / math.log(2)
        slope = (self.curve.slope + OPTIMISM / self.proposed) / 2
        return 1 - math.exp(-slope * doublings - _TRANSFER * self.lead)


@dataclass(frozen=True, slots=True)
class Turn:
    """Who gets the next trial, and why.

    Attributes:
        position: The task's place in the campaign.
        reason: Why it is its turn.
        expected: Share of the task's time that its next `LOOK_AHEAD` trials are expected to save.
    """

    position: int
    reason: Reason
    expected: float


def next_turn(prospects: Sequence[Prospect], rules: Rules) -> Turn | None:
    """Return whose turn it is; None when the trials are used up, or nothing is worth one.

    First each task gets its warm-up, in order, one after another: a later one starts from what an earlier one found.
    Then the largest expected gain of one trial in production decides: use times best seconds times expected share. A
    task of which no trial was usable yet, say because the default breaks a limit, goes before all others.

    Example:
        >>> from tuner.objective import Objective
        >>> fresh = Prospect(Curve(Objective()), proposed=0)
        >>> next_turn([fresh, fresh], Rules(trials=20))
        Turn(position=0, reason=<Reason.WARM_UP: 'warm-up'>, expected=1.0)
    """
    able = [
        (position, prospect, prospect.expected(LOOK_AHEAD))
        for position, prospect in enumerate(prospects)
        if prospect.open and not rules.used_up(prospects, position)
    ]
    for position, prospect, expected in able:
        if rules.schedule is Schedule.GAIN and prospect.proposed < min(WARM_UP, rules.trials):
            return Turn(position, Reason.WARM_UP, expected)
    able = [one for one in able if one[2] >= rules.patience]
    if not able:
        return None
    if rules.schedule is Schedule.EACH:
        position, _, expected = able[0]
        return Turn(position, Reason.ORDER, expected)
    position, prospect, expected = max(able, key=lambda one: _saved(one[1]))
    return Turn(position, Reason.NEARBY if prospect.lead > 0 else Reason.GAIN, expected)


def why_stopped(prospects: Sequence[Prospect], position: int, rules: Rules) -> Stop:
    """Return why the task at `position` gets no more trials, when all that it could still do is let time pass."""
    prospect = prospects[position]
    if not prospect.open:
        return Stop.SPACE
    if rules.used_up(prospects, position):
        return Stop.TRIALS
    return Stop.PATIENCE if prospect.expected(LOOK_AHEAD) < rules.patience else Stop.SECONDS


def _saved(prospect: Prospect) -> float:
    """Return what one more trial is expected to save in production: seconds, where times are minimised."""
    return prospect.use * prospect.curve.best_absolute * prospect.expected(1)
