"""Devices that are lent in groups: a server of several takes them all at once, and nobody else has one of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tuner.errors import RunnerClosedError, TunerError

__all__ = ["Gang"]


class Gang:
    """Lends devices of one machine, in the order in which they are asked for, so that a large group is not starved.

    Args:
        devices: Their names.

    Example:
        >>> gang = Gang(["0", "1", "2"])
        >>> with gang.taken(2) as lent:
        ...     lent
        ('0', '1')
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self._all = tuple(devices)
        self._free = list(devices)
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()
        self._closed = False

    @contextmanager
    def taken(self, count: int) -> Iterator[tuple[str, ...]]:
        """Wait for `count` devices, and give them back at the end.

        Raises:
            TunerError: there are not so many.
            RunnerClosedError: `close` was called while waiting.
        """
        if not 0 < count <= len(self._all):
            raise TunerError(f"{count} devices are asked for, and there are {len(self._all)}")
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                while self._waiting[0] is not turn or len(self._free) < count:
                    if self._closed:
                        raise RunnerClosedError("the runner was closed")
                    self._changed.wait()
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
            lent = tuple(self._free[:count])
            del self._free[:count]
        try:
            yield lent
        finally:
            with self._changed:
                # In their order: a device that was lent alone is lent alone again, with what runs on it.
                self._free = [name for name in self._all if name in self._free or name in lent]
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
