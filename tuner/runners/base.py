"""What every runner promises."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

from tuner.errors import MissingDependencyError, TunerError
from tuner.runners.station import Built
from tuner.types import Config, Measurement, Sampling, Task

__all__ = ["Activity", "BuildRunner", "Runner", "create_runner"]

_GROUP = "tuner.runners"


@dataclass(frozen=True, slots=True)
class Activity:
    """What a runner has been doing, for people who watch.

    Attributes:
        builds_waiting: Builds that are queued or running.
        device_seconds: Time for which the device was in use since the runner started.
        build_seconds: Time that builders spent since the runner started, summed over builders.
    """

    builds_waiting: int = 0
    device_seconds: float = 0.0
    build_seconds: float = 0.0


class Runner(Protocol):
    """Evaluates configs of tasks, many at once; safe to call from several threads.

    A bad config is a `Status` of its measurement. An exception of a returned future means that the machinery broke.
    """

    @property
    def capacity(self) -> int:
        """How many submissions keep it busy; more only wait."""

    @property
    def activity(self) -> Activity:
        """What it has been doing so far."""

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        """Build and measure `config`, paired with the task's default config."""

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        """Measure `configs` interleaved with each other; the first is the reference of the others.

        With `fresh`, they are measured by a process that has measured nothing before.
        """

    def close(self) -> None:
        """Stop all workers at once; what was not finished is lost. Closing twice is fine."""


@runtime_checkable
class BuildRunner(Protocol):
    """Builds configs without measuring them; no device need be present."""

    @property
    def builders(self) -> int:
        """How many builds run at once."""

    def build(self, task: Task, config: Config) -> Future[Built]:
        """Build `config`, and keep its artifact."""

    def close(self) -> None:
        """Stop all workers at once."""


def create_runner(name: str, **options: Any) -> Runner:
    """Return the runner called `name`: `local`, `ray`, or one that a package adds in the group `tuner.runners`.

    Args:
        name: The entry point's name.
        options: Passed to the runner's class.

    Raises:
        TunerError: there is no such runner.
        MissingDependencyError: its package is not installed.
    """
    points = entry_points(group=_GROUP, name=name)
    if not points:
        known = ", ".join(sorted(point.name for point in entry_points(group=_GROUP)))
        raise TunerError(f"unknown runner {name!r}; known: {known or 'none'}")
    try:
        kind = next(iter(points)).load()
    except ImportError as error:
        raise MissingDependencyError(
            f"runner {name!r} needs a package: {error}; pip install 'rltuner[{name}]'"
        ) from error
    runner: Runner = kind(**options)
    return runner
