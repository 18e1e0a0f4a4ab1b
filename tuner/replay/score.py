"""How an agent did on recorded spaces, from its runs: figures of each space, and their means with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.db.kernel_tuner import RecordedSpace
from tuner.replay.baseline import Baseline
from tuner.replay.play import Proposal, Run
from tuner.statistics import mean_interval, median, percentile
from tuner.types import Measurement, Status

__all__ = [
    "CHECKPOINTS",
    "COMMUNITY",
    "EVALUATIONS",
    "HIT",
    "REACHED",
    "Estimate",
    "ProposalTime",
    "Score",
    "baseline_of",
    "differences",
    "estimates",
    "proposal_time",
    "score_of",
]

CHECKPOINTS = (10, 25, 50, 100, 200)
"""Evaluations after which the best found is compared with the optimum."""

COMMUNITY = "score"
"""The figure between random search (0) and the optimum at once (1); see `Baseline.score`."""
REACHED = "to_5_percent"
"""The evaluations until within 5 % of the optimum; a run that did not get there counts with all it was allowed."""
HIT = "hit"
"""1 where a run got there, else 0; in the mean the share of runs."""
EVALUATIONS = "evaluations"
"""How many evaluations a run took; fewer than it was allowed where the agent had no more to ask."""

_CLOSE = 1.05
# The time of a proposal is told for a hundred observations, give or take a tenth.
_OBSERVATIONS = 100
_NEAR = 0.1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % bootstrap interval.

    Attributes:
        value: The mean over spaces of the means over seeds.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return plain data."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class ProposalTime:
    """How long an agent takes to learn of a result and to propose the next configs, in CPU time.

    Attributes:
        observations: Of about so many trials it knew, give or take a tenth.
        median_seconds: The median of such proposals, over spaces and seeds.
        p95_seconds: Their 95th percentile.
    """

    observations: int
    median_seconds: float
    p95_seconds: float

    def to_json(self) -> dict[str, float]:
        """Return plain data."""
        return {
            "observations": self.observations,
            "median_seconds": self.median_seconds,
            "p95_seconds": self.p95_seconds,
        }


@dataclass(frozen=True, slots=True)
class Score:
    """How an agent did on one space, over all seeds.

    Attributes:
        space: The recorded space's name.
        kernel: Its kernel's name.
        device: Its device's name.
        agent: The agent's name.
        size: Number of recorded configs, failed ones included.
        optimum_seconds: The fastest recorded time.
        budget: The evaluations that the score between random search and the optimum looks at.
        prior: Names of the spaces whose records the agent was told before.
        runs: Its runs, seed by seed.
        baseline: Random search on the space.
        figures: What was found in each run, by name: `f10`, `f25`, ..., the optimum over the best found after so many
            evaluations, 0 where none was found; `score`, `to_5_percent`, `hit`, `evaluations`.
    """

    space: str
    kernel: str
    device: str
    agent: str
    size: int
    optimum_seconds: float
    budget: int
    prior: tuple[str, ...]
    runs: tuple[Run, ...]
    baseline: Baseline
    figures: Mapping[str, tuple[float, ...]]

    def to_json(self) -> dict[str, Any]:
        """Return plain data, without the curves."""
        return {
            "space": self.space,
            "kernel": self.kernel,
            "device": self.device,
            "size": self.size,
            "optimum_seconds": self.optimum_seconds,
            "budget": self.budget,
            "prior": list(self.prior),
            "figures": {name: estimate.to_json() for name, estimate in estimates([self]).items()},
            "runs": {name: list(values) for name, values in self.figures.items()},
        }


def score_of(
    recorded: RecordedSpace, baseline: Baseline, agent: str, runs: Sequence[Run], trials: int, prior: Sequence[str] = ()
) -> Score:
    """Return the score of an agent's runs on one space.

    Args:
        recorded: The space.
        baseline: Random search on it.
        agent: The agent's name.
        runs: One of each seed. A run that ended early keeps its best.
        trials: Evaluations that each run was allowed.
        prior: Names of the spaces that the agent knew of.
    """
    optimum = baseline.optimum
    curves = [run.curve + run.curve[-1:] * (trials - len(run.curve)) for run in runs]
    hits = [next((i for i, best in enumerate(curve, start=1) if best <= _CLOSE * optimum), None) for curve in curves]
    figures: dict[str, tuple[float, ...]] = {
        f"f{count}": tuple(optimum / curve[count - 1] for curve in curves) for count in CHECKPOINTS if count <= trials
    }
    figures[COMMUNITY] = tuple(baseline.score(curve) for curve in curves)
    figures[REACHED] = tuple(float(hit or trials) for hit in hits)
    figures[HIT] = tuple(float(hit is not None) for hit in hits)
    figures[EVALUATIONS] = tuple(float(len(run.curve)) for run in runs)
    return Score(
        space=recorded.name,
        kernel=recorded.kernel,
        device=recorded.device,
        agent=agent,
        size=len(recorded.measurements),
        optimum_seconds=optimum,
        budget=baseline.budget(trials),
        prior=tuple(prior),
        runs=tuple(runs),
        baseline=baseline,
        figures=figures,
    )


def baseline_of(recorded: RecordedSpace) -> Baseline:
    """Return random search on a recorded space."""
    return Baseline([_seconds(measurement) for measurement in recorded.measurements.values()])


def estimates(scores: Sequence[Score]) -> dict[str, Estimate]:
    """Return the mean of each figure, each space counting alike, with its interval over spaces and seeds."""
    return {name: _estimate([score.figures[name] for score in scores]) for name in scores[0].figures}


def differences(scores: Sequence[Score], others: Sequence[Score]) -> dict[str, Estimate]:
    """Return by how much figures differ from another agent's on the same spaces, with intervals over spaces and seeds.

    Runs of one space and seed are compared with each other, so that what one space has over another does not count.
    """
    return {
        name: _estimate(
            [
                [own - other for own, other in zip(a.figures[name], b.figures[name], strict=True)]
                for a, b in zip(scores, others, strict=True)
            ]
        )
        for name in scores[0].figures
    }


def proposal_time(scores: Sequence[Score], trials: int) -> ProposalTime | None:
    """Return how long proposals took near a hundred observations, or near the last; None where there were none."""
    proposals: list[Proposal] = [proposal for score in scores for run in score.runs for proposal in run.proposals]
    observations = min(_OBSERVATIONS, trials - 1)
    near = [p.seconds for p in proposals if abs(p.observations - observations) <= _NEAR * observations]
    if not near:
        return None
    return ProposalTime(observations, median(near), percentile(near, 95))


def _estimate(groups: Sequence[Sequence[float]]) -> Estimate:
    value = math.fsum(math.fsum(group) / len(group) for group in groups) / len(groups)
    interval = mean_interval(groups)
    return Estimate(value, interval.low, interval.high)


def _seconds(measurement: Measurement) -> float:
    return measurement.samples["seconds"][0] if measurement.status is Status.CORRECT else math.inf
