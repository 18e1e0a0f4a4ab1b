"""What a campaign does: its agent, budget, objective, finals, schedule and seed, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tuner.errors import TunerError
from tuner.finals import Finals
from tuner.front import KNEE, parse_pick
from tuner.objective import Objective
from tuner.schedule import Rules, Schedule

__all__ = ["Budget", "Plan", "agent_for"]

# What every generator that agents use takes as a seed.
_SEEDS = 2**32
_FRONT_AGENT = "optuna:nsgaii"


@dataclass(frozen=True, slots=True)
class Budget:
    """When a campaign's search ends: whichever comes first.

    Attributes:
        trials: Configs measured for each task, failures included; the mean where tasks share the budget, so that n
            tasks have n times as many in all.
        seconds: Wall time of the search for each task, likewise; the finals come on top.
        patience: A task rests while its next ten trials are expected to save less than this share of its time, and the
            search ends when all rest; 0 never rests. See `tuner.schedule` for what is expected.
    """

    trials: int = 100
    seconds: float | None = None
    patience: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.trials, int) or isinstance(self.trials, bool) or self.trials < 1:
            raise TunerError(f"trials={self.trials} is not a positive whole number")
        if self.seconds is not None and not self.seconds > 0:
            raise TunerError(f"seconds={self.seconds} is not positive")
        if not 0 <= self.patience < 1:
            raise TunerError(f"patience={self.patience} is not a share: at least 0, and below 1")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a campaign searches its tasks, and how it proves what it found.

    Attributes:
        agent: Name of the agent, such as `auto`, `optuna:gp`, or, of one's own, `path/to/file.py:CLASS`.
        budget: When the search ends.
        objective: What is optimised.
        finals: How winners are proven.
        seed: Seed of all inputs and of the first task's agent; the next task's agent has the next seed, and so on, so
            that the agents of a family of shapes look at different configs.
        in_flight: Trials in flight at once; None for the runner's capacity. It decides which trials the agent knows at
            each proposal, and so belongs to what makes a campaign repeatable.
        schedule: Whether tasks share the budget by expected gain, or each has its own.
        uses: How often each task is called in production, relative to the others, in the order of the tasks; empty for
            alike.
        prior: Whether agents learn from what the store knows of related tasks; see `tuner.related`.
        pick: With several objectives, which config of the front plays the final: `knee`, or an objective in words; see
            `tuner.front`.
    """

    agent: str = "auto"
    budget: Budget = Budget()
    objective: Objective = Objective()
    finals: Finals = Finals()
    seed: int = 0
    in_flight: int | None = None
    schedule: Schedule = Schedule.GAIN
    uses: tuple[float, ...] = ()
    prior: bool = True
    pick: str = KNEE

    def __post_init__(self) -> None:
        if not 0 <= self.seed < _SEEDS:
            raise TunerError(f"seed={self.seed} is not between 0 and {_SEEDS - 1}")
        if self.in_flight is not None and self.in_flight < 1:
            raise TunerError(f"in_flight={self.in_flight} is not positive")
        for use in self.uses:
            if not 0 < use < math.inf:
                raise TunerError(f"use={use} is not a positive number")
        parse_pick(self.pick, self.objective)

    @property
    def rules(self) -> Rules:
        """How the scheduler gives trials away."""
        return Rules(self.budget.trials, self.budget.patience, self.schedule)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        return {**asdict(self), "objective": self.objective.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read back what `to_json` wrote."""
        return cls(
            agent=data["agent"],
            budget=Budget(**data["budget"]),
            objective=Objective.from_json(data["objective"]),
            finals=Finals(**data["finals"]),
            seed=data["seed"],
            in_flight=data["in_flight"],
            # Absent from campaigns that were stored before tasks could share a budget.
            schedule=Schedule(data.get("schedule", Schedule.EACH)),
            uses=tuple(data.get("uses", ())),
            # Absent from campaigns that were stored before there were priors.
            prior=data.get("prior", False),
            # Absent from campaigns that were stored before there were fronts.
            pick=data.get("pick", KNEE),
        )


def agent_for(agent: str, objective: Objective) -> str:
    """Return the agent that searches for `objective`: where nobody asked for one, of several objectives NSGA-II.

    Example:
        >>> agent_for("auto", Objective()), agent_for("auto", Objective(beside=(Objective("joules"),)))
        ('auto', 'optuna:nsgaii')
    """
    return _FRONT_AGENT if objective.beside and agent == Plan().agent else agent
