"""The measuring process's side of a child that has a model to itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from tuner.engines.base import EngineError, EngineLateError

__all__ = ["Peer"]

_LOG_CHARACTERS = 500
_END_SECONDS = 5.0


class Peer:
    """A child process that answers one request after another.

    It stays in the process group of the worker that started it, which is killed as a whole; it ends by itself when this
    process is gone; and `close` kills it.

    Args:
        cores: Those that it may use; empty for all that this process may.
        environment: Variables that it has beside those of this process.
    """

    def __init__(self, cores: Sequence[int], environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        command = [
            sys.executable,
            # A file called random.py in the current folder must not replace the standard library's.
            "-P",
            "-m",
            "tuner.engines.module.child",
            str(theirs.fileno()),
            str(os.getpid()),
            ",".join(str(core) for core in cores),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            # It must find the modules that this process finds.
            env={
                **os.environ,
                **environment,
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            },
        )
        theirs.close()
        self._connection = Connection(ours.detach())
        self._closed = False

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send `request` and return the reply; see `send` and `receive`."""
        self.send(request)
        return self.receive(time.monotonic() + seconds)

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a request, whose reply `receive` returns.

        Raises:
            EngineError: the child has ended.
        """
        try:
            self._connection.send_bytes(json.dumps(request).encode())
        except OSError as error:
            raise EngineError(self._last_words()) from error

    def receive(self, deadline: float) -> dict[str, Any]:
        """Return the reply to the last request.

        Args:
            deadline: By `time.monotonic`, when the child is given up.

        Raises:
            EngineError: what was asked for failed, or the child ended instead; the message says how.
            EngineLateError: there was no reply in time; the child was killed.
        """
        try:
            if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                self.close()
                raise EngineLateError("the engine did not answer before its deadline; killed")
            reply: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise EngineError(self._last_words()) from error
        if "error" in reply:
            raise EngineError(reply["error"])
        return reply

    def close(self) -> None:
        """Kill the child; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._log.close()

    def _last_words(self) -> str:
        """Reap the child and return how it ended."""
        if self._closed:
            return "the engine was closed"
        try:
            code = self._process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            code = 0
        self._log.seek(0)
        text = self._log.read().decode(errors="replace").strip()[-_LOG_CHARACTERS:]
        self.close()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return f"the engine {how}" + (f": {text}" if text else "")
