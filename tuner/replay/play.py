"""One run: an agent against a record."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from tuner.agents import Agent
from tuner.db.kernel_tuner import RecordedSpace
from tuner.errors import TunerError
from tuner.types import Trial

__all__ = ["Proposal", "Run", "play"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What it took to be told of some trials and to propose the next.

    Attributes:
        observations: Trials that the proposer knew of.
        seconds: CPU time to learn of the last of them, and to propose: what else runs on the machine does not enter.
    """

    observations: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """How one run went.

    Attributes:
        curve: The best time after each evaluation, in seconds; infinite until one worked.
        proposals: What each proposal took.
    """

    curve: tuple[float, ...]
    proposals: tuple[Proposal, ...]


def play(agent: Agent, recorded: RecordedSpace, trials: int, batch: int = 1) -> Run:
    """Return how `agent` does on `recorded`.

    Args:
        agent: Who proposes, fresh.
        recorded: What answers.
        trials: Most evaluations; a failed config costs one like any other, and so does one that was proposed before.
        batch: How many configs are asked for before any of them is told.

    Raises:
        TunerError: the agent proposed nothing at all, or a config that is not in the space.
    """
    curve: list[float] = []
    proposals: list[Proposal] = []
    told: list[Trial] = []
    best = math.inf
    while (left := trials - len(curve)) > 0:
        began = time.process_time()
        if told:
            agent.tell(told)
        asked = agent.ask(min(batch, left))
        proposals.append(Proposal(len(curve), time.process_time() - began))
        if not asked:
            break
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
    if not curve:
        raise TunerError(f"{type(agent).__name__} proposed nothing at all on {recorded.name}")
    return Run(tuple(curve), tuple(proposals))
