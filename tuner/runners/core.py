"""Turns on a timing core: campaigns that run beside each other on one machine do not time each other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tuner.errors import RunnerClosedError

__all__ = ["CoreTurn"]

_WAIT_SECONDS = 0.02


class CoreTurn:
    """The right to time on some cores, held by one process of this machine at a time.

    It is a lock on a file in the folder for temporary files; the system takes it back from a process that dies.

    Args:
        cores: The cores; with none there is nothing to take turns on.
    """

    def __init__(self, cores: Sequence[int]) -> None:
        name = "-".join(str(core) for core in cores)
        self._path = Path(tempfile.gettempdir(), f"tuner-core-{name}.lock") if cores else None
        self._closed = threading.Event()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn, and give it back at the end.

        Raises:
            RunnerClosedError: `close` was called while waiting.
        """
        handle = self._open()
        if handle is None:
            yield
            return
        try:
            while not _locked(handle):
                if self._closed.wait(_WAIT_SECONDS):
                    raise RunnerClosedError("the runner was closed")
            yield
        finally:
            os.close(handle)

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closed.set()

    def _open(self) -> int | None:
        if self._path is None:
            return None
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            # Another user's file: there is no common ground to take turns on.
            return None
        return handle


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
