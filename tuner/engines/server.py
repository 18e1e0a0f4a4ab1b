"""Engines that are servers: one config, one process; the servers that are up at once; and what they measure."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from tuner.engines.client import Prompts, Served, Target, serve_window
from tuner.engines.energy import EnergyMeter
from tuner.engines.process import ServerCommand, ServerFailedError, ServerProcess, Usage
from tuner.engines.sample import MeasuredWindow
from tuner.engines.traffic import Profile, Window

__all__ = ["Applied", "Launch", "ServerEngine", "ServerPool", "available_memory_bytes"]

_WARM_SECONDS = 120.0


class Applied(StrEnum):
    """What applying a config took."""

    START = "start"
    """A server was started."""
    REUSE = "reuse"
    """The server that was up already has this config."""


@dataclass(frozen=True)
class Launch:
    """All that it takes to start a server and to talk to it.

    Attributes:
        command: How it is started.
        model: The model's name in requests.
        prompts: How prompts are made.
        extra: What else requests say.
        deadline_seconds: How long a start may take.
        memory_bytes: What it will need of the machine's memory, as far as is known; 0 if nothing is.
        gpus: The GPUs whose energy is read; the CPU's where there are none.
    """

    command: ServerCommand
    model: str
    prompts: Prompts = field(default_factory=Prompts)
    extra: dict[str, Any] = field(default_factory=dict)
    deadline_seconds: float = 300.0
    memory_bytes: int = 0
    gpus: tuple[int, ...] = ()


class ServerEngine:
    """One engine: applies launches, measures traffic. It has one server at most; another launch replaces it.

    Example:
        >>> import sys
        >>> words = (sys.executable, "-m", "tuner.testing.openai_server", "--port", "{port}")
        >>> engine = ServerEngine()
        >>> engine.apply(Launch(ServerCommand(words), "fake")).value
        'start'
        >>> engine.apply(Launch(ServerCommand(words), "fake")).value
        'reuse'
        >>> engine.close()
    """

    def __init__(self) -> None:
        self._server: ServerProcess | None = None
        self._launch: Launch | None = None
        self._meter: EnergyMeter | None = None
        self._is_warm = False
        self.start_seconds = 0.0
        self.last_used = 0.0

    @property
    def command(self) -> ServerCommand | None:
        """What its server was started with; None while it has none."""
        return self._launch.command if self._launch is not None else None

    @property
    def memory_bytes(self) -> int:
        """What its server was expected to need."""
        return self._launch.memory_bytes if self._launch is not None else 0

    def apply(self, launch: Launch) -> Applied:
        """Have a server of this launch: the one that is up, if it is one, and is well, or a new one.

        Raises:
            ServerFailedError: it did not start; the message is the reason.
        """
        self.last_used = time.monotonic()
        if self._server is not None and self.command == launch.command and not self._server.failure():
            self._launch = launch
            self.start_seconds = 0.0
            return Applied.REUSE
        self.close()
        _refuse_without_memory(launch)
        server = ServerProcess(launch.command, deadline_seconds=launch.deadline_seconds)
        try:
            server.start()
        finally:
            self.start_seconds = server.start_seconds
        self._server, self._launch, self._is_warm = server, launch, False
        self._meter = EnergyMeter(launch.gpus)
        return Applied.START

    def measure(self, profiles: Sequence[Profile], window: Window) -> list[MeasuredWindow]:
        """Serve one window of each profile and return what was measured, one for each profile.

        Before a server's first window come a few requests that nobody looks at.

        Raises:
            ServerFailedError: the server died, or is not well any more.
        """
        assert self._server is not None and self._launch is not None and self._meter is not None, "apply comes first"
        self.last_used = time.monotonic()
        if not self._is_warm:
            self._warm_up(profiles)
        measured = []
        for profile in profiles:
            before, joules = self._server.usage(), self._meter.joules()
            served = self._serve(profile, window)
            after, more = self._server.usage(), self._meter.joules()
            used = Usage(max(0.0, after.cpu_seconds - before.cpu_seconds), after.memory_bytes)
            energy = more - joules if more is not None and joules is not None else None
            if served.errors and (failure := self._server.failure()):
                raise ServerFailedError(failure)
            traffic = profile.traffic
            measured.append(MeasuredWindow(window.number, profile.share, traffic.limits, served, used, energy))
        return measured

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.stop()
        self._server = self._launch = None

    def _warm_up(self, profiles: Sequence[Profile]) -> None:
        """Send as many requests as may be in flight at once: what is compiled or laid out lazily then is."""
        assert self._server is not None
        for profile in profiles:
            traffic = replace(profile.traffic, timeout_seconds=_WARM_SECONDS)
            most = traffic.concurrency if traffic.is_closed_loop else 8
            # A window that no measurement has, since those count from 0.
            served = self._serve(Profile(profile.name, traffic), Window(2**31), most_requests=most)
            if served.errors and (failure := self._server.failure()):
                raise ServerFailedError(failure)
        self._is_warm = True

    def _serve(self, profile: Profile, window: Window, *, most_requests: int | None = None) -> Served:
        assert self._server is not None and self._launch is not None
        target = Target(self._server.url, self._launch.model, self._launch.prompts, self._launch.extra)
        return serve_window(target, profile.traffic, window, most_requests=most_requests)


class ServerPool:
    """The engines that are up: several at once where the machine's memory holds them, so that windows take turns.

    Args:
        most: How many at once.
    """

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._engines: list[ServerEngine] = []

    def engine(self, launch: Launch, beside: Sequence[Launch] = ()) -> ServerEngine:
        """Return the engine to which `launch` is to be applied.

        It is the one that has it already, or one whose place is free. Where there is no place, or no memory, the one that
        was used longest ago gives way, those of `beside` last.
        """
        found = next((one for one in self._engines if one.command == launch.command), None)
        if found is not None:
            return found
        kept = [other.command for other in beside]
        while self._engines and (len(self._engines) >= self._most or not self.holds([launch])):
            first = min(self._engines, key=lambda one: (one.command in kept, one.last_used))
            first.close()
            self._engines.remove(first)
        engine = ServerEngine()
        self._engines.append(engine)
        return engine

    def holds(self, launches: Sequence[Launch]) -> bool:
        """Return whether there is memory for these launches beside the servers that are up and are not among them."""
        commands = [launch.command for launch in launches]
        missing = [one for one in launches if all(engine.command != one.command for engine in self._engines)]
        freed = sum(one.memory_bytes for one in self._engines if one.command not in commands)
        if len(set(map(repr, commands))) > self._most:
            return False
        return sum(one.memory_bytes for one in missing) <= available_memory_bytes() + (freed if len(launches) > 1 else 0)

    def drop(self, engine: ServerEngine) -> None:
        """Close an engine and forget it."""
        engine.close()
        if engine in self._engines:
            self._engines.remove(engine)

    def close(self) -> None:
        """Close all engines."""
        for engine in list(self._engines):
            self.drop(engine)


def available_memory_bytes(limits: Iterable[Path] = (Path("/sys/fs/cgroup"),)) -> int:
    """Return how much memory may still be used here, by the system's account and that of this process's group.

    Args:
        limits: Folders of control groups that bound it.
    """
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = 1024 * int(line.split()[1])
    for folder in limits:
        with contextlib.suppress(OSError, ValueError):
            most, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
            available = min(available, max(0, most - used))
    return available


def _refuse_without_memory(launch: Launch) -> None:
    free = available_memory_bytes()
    if launch.memory_bytes > free:
        raise ServerFailedError(
            f"needs {launch.memory_bytes / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free; "
            "give the KV cache less, or use fewer replicas"
        )
