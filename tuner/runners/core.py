"""Which cores time and which build, and the turns on them: what runs on a core does not disturb who times on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tuner.errors import RunnerClosedError
from tuner.types import Device

__all__ = ["CoreTurn", "split_cores"]

_WAIT_SECONDS = 0.02


def split_cores(cores: Sequence[int], device: Device) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return which of `cores` build for `device`, and which time on it: the last ones, as many as the device has.

    Where none is left to build, all build, in turns with what is timed. A GPU times itself: all cores build for it, and
    whoever launches on it needs none for itself.
    """
    if device.kind != "cpu":
        return tuple(cores), ()
    return tuple(cores[: -device.count] or cores), tuple(cores[-device.count :])


class CoreTurn:
    """The right to use cores: whoever times has its cores alone, whoever builds shares them with others who build.

    It holds between all processes of this machine: campaigns that run beside each other do not time each other, and
    nothing is built on a core that is being timed on. Each core's turn is a lock on a file in the folder for temporary
    files; the system takes it back from a process that dies.
    """

    def __init__(self) -> None:
        self._closed = threading.Event()

    @contextlib.contextmanager
    def taken(self, cores: Sequence[int], *, shared: bool = False) -> Iterator[None]:
        """Wait for the turn on all of `cores`, and give it back at the end; with none there is nothing to wait for.

        Raises:
            RunnerClosedError: `close` was called while waiting.
        """
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        with contextlib.ExitStack() as held:
            # All take them in the same order: nobody waits for one who waits for him.
            for core in sorted(cores):
                # Whoever waits, waits in front of those who came later: builds that overlap would never leave a gap.
                with self._locked(f"tuner-core-{core}.queue", fcntl.LOCK_EX):
                    held.enter_context(self._locked(f"tuner-core-{core}.lock", kind))
            yield

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closed.set()

    @contextlib.contextmanager
    def _locked(self, name: str, kind: int) -> Iterator[None]:
        handle = _open(name)
        if handle is None:
            yield
            return
        try:
            while not _lock(handle, kind):
                if self._closed.wait(_WAIT_SECONDS):
                    raise RunnerClosedError("the runner was closed")
            yield
        finally:
            os.close(handle)


def _open(name: str) -> int | None:
    try:
        return os.open(Path(tempfile.gettempdir(), name), os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        # Another user's file: there is no common ground to take turns on.
        return None


def _lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
