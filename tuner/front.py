"""Several objectives at once: the front of what nothing beats in all of them, and the choice of one config on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.phrase import parse_objective, refuse_repeated
from tuner.types import Trial

__all__ = ["KNEE", "Pick", "front_of", "parse_pick"]

KNEE = "knee"
"""The word for the config of a front that is nearest to the best of everything."""


@dataclass(frozen=True, slots=True)
class Pick:
    """How one config of a front is chosen, and what it then has to prove.

    Attributes:
        objective: What decides, under the campaign's limits and those of the choice; for the knee, the first of the
            campaign's objectives, which is what the finals compare.
        knee: Whether the knee is chosen instead of the best of `objective`.

    Example:
        >>> from tuner.objective import Direction
        >>> pick = parse_pick("minimize joules where seconds<2", Objective(beside=(Objective("joules"),)))
        >>> pick.objective.metric, pick.objective.limits[0].metric, pick.knee
        ('joules', 'seconds', False)
    """

    objective: Objective
    knee: bool = False

    def ranked(self, trials: Sequence[Trial], objective: Objective) -> list[Trial]:
        """Return the trials of the front of `objective` that may be chosen, the chosen one first.

        The knee is the one whose logarithms of all scores, each scaled to the range that it has on the front, are
        nearest to the ideal point, the best of each (compromise programming: Zeleny, Multiple Criteria Decision Making,
        1982, chapter 10).
        """
        front = front_of(trials, objective)
        if not self.knee:
            scored = [(self.objective.score(trial), trial.number, trial) for trial in front]
            return [trial for score, _, trial in sorted(scored, key=lambda one: one[:2]) if math.isfinite(score)]
        points = [_point(trial, objective.every) for trial in front]
        ranges = [(min(axis), max(axis)) for axis in zip(*points, strict=True)]
        far = [
            math.hypot(
                *((at - low) / (high - low) if high > low else 0.0 for at, (low, high) in zip(p, ranges, strict=True))
            )
            for p in points
        ]
        return [
            trial for _, _, trial in sorted(zip(far, range(len(front)), front, strict=True), key=lambda one: one[:2])
        ]


def parse_pick(text: str, objective: Objective) -> Pick:
    """Return the choice that `text` says: `knee`, or an objective such as `maximize goodput where ttft_p99<0.5`.

    Args:
        text: The rule.
        objective: The campaign's; its limits hold for whatever is chosen.

    Raises:
        TunerError: it is neither; or it limits a metric that the campaign limits as well.
    """
    first = objective.every[0]
    if text.strip() == KNEE:
        return Pick(first, knee=True)
    try:
        asked = parse_objective(text)
    except TunerError as error:
        raise TunerError(f"{error}; or pick the {KNEE!r}") from error
    limits = tuple(dict.fromkeys((*first.limits, *asked.limits)))
    refuse_repeated(limits)
    return Pick(Objective(asked.metric, asked.direction, limits, asked.statistic, objective.price_per_hour))


def front_of(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Return the usable trials that no other beats, by the first objective's score, the best first.

    One beats another if it is at least as good in every objective and better in one. Of configs that are alike in all,
    the first that was tried stands for them.

    Raises:
        TunerError: a correct trial does not carry an objective's metric.
    """
    every = objective.every
    points = {i: _point(trial, every) for i, trial in enumerate(trials)}
    usable = sorted((point, trials[i].number, i) for i, point in points.items() if all(map(math.isfinite, point)))
    front: list[tuple[tuple[float, ...], int]] = []
    # Whoever beats a point comes before it in this order.
    for point, _, i in usable:
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) for other, _ in front):
            front.append((point, i))
    return [trials[i] for _, i in front]


def _point(trial: Trial, every: Sequence[Objective]) -> tuple[float, ...]:
    return tuple(one.log_score(trial) for one in every)
