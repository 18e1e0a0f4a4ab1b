"""The one interface of all agents, and how a name becomes one: installed, or a class in a file of one's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.reference import import_reference, is_reference
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Task, Trial

__all__ = ["Agent", "Source", "agent_class", "create_agent", "installed_agents", "lasting_name"]

_GROUP = "tuner.agents"


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of a related task: the same kernel on another device or workload, or a related kernel."""

    task: Task
    trials: tuple[Trial, ...]


class Agent(ABC):
    """Proposes configs of one space, and learns from their trials.

    An agent proposes only valid configs, and none twice. Its proposals depend on nothing but the space, the seed, and
    the order of asking and telling. Resuming is telling it the old trials.

    Args:
        space: The valid configs.
        objective: How a trial becomes a score; lower is better.
        seed: Seed of all its random choices.
        sources: Trials of related tasks to learn from; an agent may ignore them.
        variant: What follows the colon in `name:variant`; one of `variants`, or what `free_variant` describes.

    Attributes:
        variants: The variants that the agent has, its default first; empty where there are none.
        free_variant: What the variant stands for where it is not one of a list, such as a file; the agent checks it.
        learns_from_sources: Whether `sources` make a difference.
        front_variants: The variants that search for a front where several objectives stand beside each other.
    """

    variants: ClassVar[tuple[str, ...]] = ()
    free_variant: ClassVar[str] = ""
    learns_from_sources: ClassVar[bool] = False
    front_variants: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        space: SearchSpace,
        objective: Objective,
        *,
        seed: int,
        sources: Sequence[Source] = (),
        variant: str = "",
    ) -> None:
        if self.free_variant and not variant:
            raise TunerError(f"{type(self).__name__} needs a variant; write it behind the colon: {self.free_variant}")
        if variant and variant not in self.variants and not self.free_variant:
            known = f"choose one of {', '.join(self.variants)}" if self.variants else "it has none"
            raise TunerError(f"{type(self).__name__} has no variant {variant!r}; {known}")
        chosen = variant or next(iter(self.variants), "")
        if objective.beside and chosen not in self.front_variants:
            raise TunerError(
                f"{type(self).__name__} searches for one objective, not for the front of "
                f"{len(objective.every)}; use optuna:nsgaii or optuna:tpe"
            )
        self.space = space
        self.objective = objective
        self.seed = seed
        self.sources = tuple(sources)
        self.variant = variant or next(iter(self.variants), "")

    @classmethod
    def asks_sources(cls, variant: str) -> bool:
        """Return whether `sources` make a difference to this variant."""
        return cls.learns_from_sources

    @abstractmethod
    def ask(self, count: int) -> list[Config]:
        """Return up to `count` configs to measure next; fewer, or none, when the space has no more or it would stop."""

    @abstractmethod
    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from finished trials, proposed by this agent or not."""


def installed_agents() -> dict[str, str]:
    """Return every installed agent with the reference of its class; nothing is imported.

    A package adds one with an entry point in the group `tuner.agents`.
    """
    return {point.name: point.value for point in sorted(entry_points(group=_GROUP), key=lambda point: point.name)}


def agent_class(name: str) -> type[Agent]:
    """Return the class that `name` means, such as `random`, `optuna:gp` or `path/to/file.py:Class`.

    Raises:
        TunerError: there is no such agent, its package cannot be imported, or what is referred to is no agent.
    """
    base = name.partition(":")[0]
    if _is_own(name):
        own = import_reference(name)
        if not (isinstance(own, type) and issubclass(own, Agent)):
            raise TunerError(f"{name} is not a class that extends tuner.agents.Agent")
        return own
    points = entry_points(group=_GROUP, name=base)
    if not points:
        known = ", ".join(installed_agents()) or "none"
        raise TunerError(f"unknown agent {base!r}; known: {known}; one of your own is path/to/file.py:CLASS")
    try:
        kind: type[Agent] = next(iter(points)).load()
    except ImportError as error:
        raise TunerError(f"agent {base!r} cannot be imported: {error}") from error
    return kind


def create_agent(
    name: str, space: SearchSpace, objective: Objective, *, seed: int, sources: Sequence[Source] = ()
) -> Agent:
    """Return the agent that `name` means, such as `random`, `optuna:gp` or `path/to/file.py:Class`, for a space.

    Raises:
        TunerError: there is no such agent or variant, or its package cannot be imported.
    """
    kind = agent_class(name)
    if _is_own(name):
        return kind(space, objective, seed=seed, sources=sources)
    return kind(space, objective, seed=seed, sources=sources, variant=name.partition(":")[2])


def lasting_name(name: str) -> str:
    """Return `name` as it means the same from any folder: the path of a class in a file is made absolute.

    Example:
        >>> lasting_name("optuna:gp")
        'optuna:gp'
        >>> lasting_name("own_agent.py:Climber").endswith("/own_agent.py:Climber")
        True
    """
    head, _, attribute = name.rpartition(":")
    return f"{Path(head).resolve()}:{attribute}" if _is_own(name) and head.endswith(".py") else name


def _is_own(name: str) -> bool:
    """Return whether `name` refers to a class; an installed agent's variant may look like that."""
    return is_reference(name) and not entry_points(group=_GROUP, name=name.partition(":")[0])
