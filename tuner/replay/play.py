"""One run: an agent against a record."""

from __future__ import annotations

import math

from tuner.agents import Agent
from tuner.db.kernel_tuner import RecordedSpace
from tuner.errors import TunerError
from tuner.types import Trial

__all__ = ["play"]


def play(agent: Agent, recorded: RecordedSpace, trials: int, batch: int = 1) -> list[float]:
    """Return the best time after each evaluation, in seconds; infinite until one worked.

    Args:
        agent: Who proposes, fresh.
        recorded: What answers.
        trials: Most evaluations; a failed config costs one like any other, and so does one that was proposed before.
        batch: How many configs are asked for before any of them is told.

    Raises:
        TunerError: the agent proposed nothing at all, or a config that is not in the space.
    """
    curve: list[float] = []
    best = math.inf
    while (left := trials - len(curve)) > 0 and (asked := agent.ask(min(batch, left))):
        told = []
        for config in asked:
            measurement = recorded.measurements.get(config)
            if measurement is None:
                raise TunerError(
                    f"{type(agent).__name__} proposed {dict(config)}, which is not a config of {recorded.name}"
                )
            trial = Trial(config, measurement, number=len(curve))
            told.append(trial)
            best = min(best, agent.objective.score(trial))
            curve.append(best)
        agent.tell(told)
    if not curve:
        raise TunerError(f"{type(agent).__name__} proposed nothing at all on {recorded.name}")
    return curve
