"""What a campaign does: its agent, budget, objective, finals and seed, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tuner.errors import TunerError
from tuner.finals import Finals
from tuner.objective import Direction, Limit, Objective, Statistic

__all__ = ["Budget", "Plan"]

# What every generator that agents use takes as a seed.
_SEEDS = 2**32


@dataclass(frozen=True, slots=True)
class Budget:
    """When the search of each task ends: whichever comes first.

    Attributes:
        trials: Configs measured, failures included.
        seconds: Wall time of the search; the finals come on top.
    """

    trials: int = 100
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.trials, int) or isinstance(self.trials, bool) or self.trials < 1:
            raise TunerError(f"trials={self.trials} is not a positive whole number")
        if self.seconds is not None and not self.seconds > 0:
            raise TunerError(f"seconds={self.seconds} is not positive")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a campaign searches each of its tasks, and how it proves what it found.

    Attributes:
        agent: Name of the agent, such as `optuna` or `optuna:gp`.
        budget: When each task's search ends.
        objective: What is optimised.
        finals: How winners are proven.
        seed: Seed of the agent and of all inputs.
        in_flight: Trials in flight at once; None for the runner's capacity. It decides which trials the agent knows at
            each proposal, and so belongs to what makes a campaign repeatable.
    """

    agent: str = "optuna"
    budget: Budget = Budget()
    objective: Objective = Objective()
    finals: Finals = Finals()
    seed: int = 0
    in_flight: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < _SEEDS:
            raise TunerError(f"seed={self.seed} is not between 0 and {_SEEDS - 1}")
        if self.in_flight is not None and self.in_flight < 1:
            raise TunerError(f"in_flight={self.in_flight} is not positive")
        if (self.objective.metric, self.objective.direction) != ("seconds", Direction.MINIMIZE):
            raise TunerError(f"campaigns minimise seconds; {self.objective.metric!r} cannot be proven in finals")

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read back what `to_json` wrote."""
        objective = data["objective"]
        limits = tuple(Limit(**{**limit, "statistic": Statistic(limit["statistic"])}) for limit in objective["limits"])
        return cls(
            agent=data["agent"],
            budget=Budget(**data["budget"]),
            objective=Objective(objective["metric"], Direction(objective["direction"]), limits),
            finals=Finals(**data["finals"]),
            seed=data["seed"],
            in_flight=data["in_flight"],
        )
