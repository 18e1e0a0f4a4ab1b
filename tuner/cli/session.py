"""What commands open and close: the store, a runner, the live line, and what Ctrl-C means."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tuner.campaign import Campaign
from tuner.cli.output import reason_text, workload_text
from tuner.db import Store
from tuner.db.sql import open_store
from tuner.errors import StoppedError, TunerError
from tuner.result import Progress, Stage
from tuner.runners import BuildRunner, Runner, create_runner
from tuner.tunable import Placeable, load
from tuner.types import Task

__all__ = [
    "INTERRUPTED",
    "LiveLine",
    "build_runner_of",
    "gang_of",
    "gpus_of",
    "interruptible",
    "runner_of",
    "stoppable",
    "store_of",
    "store_url",
]

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended: 128 + SIGINT, as shells count."""

_PLAIN_LINE_SECONDS = 10.0


def store_url(option: str | None) -> str | None:
    """Return the store that was asked for: the option, else `TUNER_STORE`, else None for the user's own."""
    return option or os.environ.get("TUNER_STORE") or None


@contextmanager
def store_of(option: str | None) -> Iterator[Store]:
    """Open the store, and close it at the end."""
    store = open_store(store_url(option))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def runner_of(name: str, address: str | None, gpus: int = 0, *, gang: str | None = None) -> Iterator[Runner]:
    """Start a runner, and close it at the end; an address of a Ray cluster asks for Ray.

    Args:
        name: Its name.
        address: Of the cluster.
        gpus: How many GPUs of this machine measure.
        gang: What trials take several of at once on Ray; see `RayRunner`.
    """
    options: dict[str, Any] = {"gpus": gpus} if gpus else {}
    if gang and (address or name == "ray"):
        options = {"gang": gang}
    runner = create_runner("ray", address=address, **options) if address else create_runner(name, **options)
    try:
        yield runner
    finally:
        runner.close()


def gpus_of(tasks: Sequence[Task], asked: int = 1) -> int:
    """Return how many GPUs a runner of these tasks is to have: none where all run on a CPU."""
    return asked if any(task.device.kind != "cpu" for task in tasks) else 0


def gang_of(tasks: Sequence[Task]) -> str | None:
    """Return what Ray calls the devices of which trials of these tasks take as many as they need; None without any."""
    several = any(task.device.kind != "cpu" and isinstance(load(task.tunable), Placeable) for task in tasks)
    return "GPU" if several else None


@contextmanager
def build_runner_of(name: str, address: str | None, builders: int) -> Iterator[BuildRunner]:
    """Start a runner that builds only, and close it at the end.

    Raises:
        TunerError: this kind of runner cannot build without measuring.
    """
    kind, options = ("ray", {"address": address}) if address else (name, {})
    runner = create_runner(kind, builders=builders, **options)
    try:
        if not isinstance(runner, BuildRunner):
            raise TunerError(f"the runner {kind!r} measures what it builds; use local or ray with --compile-only")
        yield runner
    finally:
        runner.close()


def interruptible(campaign: Campaign) -> AbstractContextManager[None]:
    """Let the first Ctrl-C finish what is being measured, and the second one end at once; both keep all trials."""
    return stoppable(
        campaign.stop, f"every trial that was finished is kept; resume with: tuner campaign resume {campaign.id}"
    )


@contextmanager
def stoppable(stop: Callable[[], None], hint: str) -> Iterator[None]:
    """Let the first Ctrl-C call `stop`, and the second one end at once.

    Raises:
        StoppedError: at the second; it says `hint`.
    """

    def interrupt(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("finishing what is being measured; Ctrl-C again to end at once", file=sys.stderr)
        stop()

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        raise StoppedError(f"ended by Ctrl-C; {hint}") from error
    finally:
        signal.signal(signal.SIGINT, previous)


class LiveLine:
    """One line on standard error that says where a campaign is; without a terminal, a plain line every ten seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._device_seconds: float | None = None
        self._last_plain = time.monotonic()

    def __enter__(self) -> LiveLine:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the line away."""
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, markup=False, soft_wrap=True)

    def show(self, progress: Progress) -> None:
        """Show `progress`."""
        if self._device_seconds is None:
            self._device_seconds = progress.activity.device_seconds
        text = self._text(progress)
        if self._console.is_terminal:
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"))
        elif time.monotonic() - self._last_plain > _PLAIN_LINE_SECONDS:
            self._last_plain = time.monotonic()
            self._console.print(text, markup=False, soft_wrap=True)

    def _text(self, progress: Progress) -> str:
        where = f"{progress.task.tunable} {workload_text(progress.task.workload)}"
        if progress.stage is Stage.FINALS:
            return f"{where} | finals: the best are re-timed against the default"
        busy = (progress.activity.device_seconds - (self._device_seconds or 0.0)) / max(progress.seconds, 1e-9)
        parts = [
            f"{progress.all_trials}/{progress.budget_trials} trials",
            f"{where}: {progress.trials} trials, {reason_text(progress.turn)}" if progress.turn else where,
            # Without paired measurements a score is not relative to the default.
            f"best about {1 / progress.best:.2f}x the default" if math.isfinite(progress.best) else "no result yet",
            f"{progress.activity.builds_waiting} building",
            f"device {min(busy, 1):.0%} busy",
            f"{sum(progress.failures.values())} failed",
        ]
        if progress.seconds_left is not None:
            parts.append(f"{progress.seconds_left:.0f} s left")
        return " | ".join(parts)
