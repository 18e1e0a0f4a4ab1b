"""How an agent did on recorded spaces, from its runs' curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tuner.db.kernel_tuner import RecordedSpace

__all__ = ["CHECKPOINTS", "Score", "mean_of", "score_of"]

CHECKPOINTS = (10, 25, 50, 100, 200)
"""Evaluations after which the best found is compared with the optimum."""

_CLOSE = 1.05


@dataclass(frozen=True, slots=True)
class Score:
    """How an agent did on one space, over all seeds.

    Attributes:
        space: The recorded space's name.
        kernel: Its kernel's name.
        agent: The agent's name.
        size: Number of recorded configs, failed ones included.
        optimum_seconds: The fastest recorded time.
        prior: Names of the spaces whose records the agent was told before.
        fraction_of_optimum: Mean of optimum / best found (0 where none was found) after so many evaluations; those of
            `CHECKPOINTS` that the number of trials reaches.
        evaluations_to_5_percent: Mean of the evaluations until within 5 % of the optimum; a run that did not get there
            counts with all its trials.
        hit_rate: Share of the runs that got there.
        seeds: Number of runs.
    """

    space: str
    kernel: str
    agent: str
    size: int
    optimum_seconds: float
    prior: tuple[str, ...]
    fraction_of_optimum: Mapping[str, float]
    evaluations_to_5_percent: float
    hit_rate: float
    seeds: int

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            **asdict(self),
            "fraction_of_optimum": dict(self.fraction_of_optimum),
            "prior": list(self.prior),
        }


def score_of(
    recorded: RecordedSpace, agent: str, curves: Sequence[Sequence[float]], trials: int, prior: Sequence[str] = ()
) -> Score:
    """Return the score of an agent's runs on one space.

    Args:
        recorded: The space.
        agent: The agent's name.
        curves: Of each run, the best time in seconds after each evaluation, infinite until one worked. A run that ended
            early keeps its best.
        trials: Evaluations that each run was allowed.
        prior: Names of the spaces that the agent knew of.
    """
    optimum = recorded.optimum_seconds

    def fraction(count: int) -> float:
        return sum(optimum / curve[min(count, len(curve)) - 1] for curve in curves) / len(curves)

    hits = [next((i for i, best in enumerate(c, start=1) if best <= _CLOSE * optimum), None) for c in curves]
    return Score(
        space=recorded.name,
        kernel=recorded.kernel,
        agent=agent,
        size=len(recorded.measurements),
        optimum_seconds=optimum,
        prior=tuple(prior),
        fraction_of_optimum={str(count): fraction(count) for count in CHECKPOINTS if count <= trials},
        evaluations_to_5_percent=sum(hit or trials for hit in hits) / len(hits),
        hit_rate=sum(hit is not None for hit in hits) / len(hits),
        seeds=len(curves),
    )


def mean_of(scores: Sequence[Score]) -> dict[str, Any]:
    """Return the means over spaces, each space counting alike."""
    count = len(scores)
    checkpoints = scores[0].fraction_of_optimum
    return {
        "fraction_of_optimum": {c: sum(score.fraction_of_optimum[c] for score in scores) / count for c in checkpoints},
        "evaluations_to_5_percent": sum(score.evaluations_to_5_percent for score in scores) / count,
        "hit_rate": sum(score.hit_rate for score in scores) / count,
    }
