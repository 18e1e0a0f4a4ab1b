"""How a name becomes an agent: one that is installed, or a class in a file of one's own."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.agents import Agent, Source, create_agent
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.reference import import_reference, is_reference
from tuner.search_spaces import SearchSpace

__all__ = ["agent_of"]


def agent_of(
    name: str, space: SearchSpace, objective: Objective, *, seed: int, sources: Sequence[Source] = ()
) -> Agent:
    """Return the agent that `name` means, such as `random`, `optuna:gp` or `path/to/file.py:Class`, for a space.

    Raises:
        TunerError: there is none, or what is referred to is not the class of an agent.
    """
    if not is_reference(name):
        return create_agent(name, space, objective, seed=seed, sources=sources)
    kind = import_reference(name)
    if not (isinstance(kind, type) and issubclass(kind, Agent)):
        raise TunerError(f"{name} is not a class that extends tuner.agents.Agent")
    return kind(space, objective, seed=seed, sources=sources)
