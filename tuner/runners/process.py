"""The parent's side of a worker process: a deadline for each request, killed and replaced when it does not answer."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from tuner.errors import RunnerClosedError, TunerError

__all__ = ["ENVIRONMENT", "WorkerDiedError", "WorkerProcess", "WorkerTimeoutError"]

_START_SECONDS = 120.0
_LOG_CHARACTERS = 500

# One thread for the libraries that would start more; a kernel with THREADS asks for its own. Those wait for the next
# call awake, for a million pauses of the CPU (10 ms where one takes 26 cycles), and then sleep: asleep they start 30 to
# 90 microseconds late, awake 1, and none may spin on beside the next trial. Only libgomp reads the count.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "1000000",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class WorkerDiedError(TunerError):
    """The worker process ended in the middle of a request; the message says by which signal, with its last words."""


class WorkerTimeoutError(TunerError):
    """The worker process did not answer in time and was killed."""


class WorkerProcess:
    """One worker, started when first asked, replaced after it died; asked by one thread at a time.

    It runs in a session of its own: a Ctrl-C at the terminal does not reach it, and killing it takes the compilers that
    it started with it.

    Args:
        cache: The folder of artifacts.
        environment: Variables that it has beside those of this process.
    """

    def __init__(self, cache: Path, environment: Mapping[str, str] | None = None) -> None:
        self._cache = cache
        self._environment = dict(environment or {})
        self._cores: tuple[int, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._log: IO[bytes] | None = None
        self._folder: str | None = None
        self._closed = False
        self._lock = threading.Lock()

    def pin(self, cores: Sequence[int]) -> None:
        """Let the worker use these cores only, or all where none are given; one that is pinned otherwise is replaced.

        A worker's threads and libraries go by the cores that it was started on.
        """
        if self._cores != tuple(cores):
            self.stop()
            self._cores = tuple(cores)

    def ask(self, request: Mapping[str, Any], timeout_seconds: float) -> dict[str, Any]:
        """Return the worker's reply to `request`, both JSON objects.

        Raises:
            WorkerTimeoutError: no reply within `timeout_seconds`; the worker was killed.
            WorkerDiedError: the worker ended instead of replying, or cannot be started.
            RunnerClosedError: `close` was called.
        """
        connection = self._connected()
        try:
            connection.send_bytes(json.dumps(request).encode())
            if not connection.poll(timeout_seconds):
                self.stop()
                raise WorkerTimeoutError(f"no result after {timeout_seconds:g} seconds; killed")
            reply: dict[str, Any] = json.loads(connection.recv_bytes())
            return reply
        except (EOFError, OSError) as error:
            # Killed on purpose, a worker says nothing about what it was working on.
            if self._closed:
                raise RunnerClosedError("the runner was closed") from error
            raise WorkerDiedError(self._last_words()) from error

    def stop(self) -> None:
        """Kill the worker and all that it started; the next request starts another."""
        with self._lock:
            process, connection, log, folder = self._process, self._connection, self._log, self._folder
            self._process = self._connection = self._log = self._folder = None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if connection is not None:
            connection.close()
        if log is not None:
            log.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Kill the worker for good."""
        self._closed = True
        self.stop()

    def _connected(self) -> Connection:
        if self._closed:
            raise RunnerClosedError("the runner is closed")
        if self._connection is not None:
            return self._connection
        ours, theirs = socket.socketpair()
        log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        # What a killed compiler leaves behind goes with it.
        folder = tempfile.mkdtemp(prefix="tuner-worker-")
        command = [
            sys.executable,
            # A file called random.py in the current folder must not replace the standard library's.
            "-P",
            "-m",
            "tuner.runners.worker",
            str(theirs.fileno()),
            str(self._cache),
            str(os.getpid()),
        ]
        if self._cores:
            command.append(",".join(str(core) for core in self._cores))
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            # The worker must find the modules that this process finds: a script's own folder, for one.
            env={
                **os.environ,
                **ENVIRONMENT,
                **self._environment,
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                "TMPDIR": folder,
            },
        )
        theirs.close()
        connection = Connection(ours.detach())
        with self._lock:
            self._process, self._connection, self._log, self._folder = process, connection, log, folder
        try:
            if not connection.poll(_START_SECONDS):
                self.stop()
                raise WorkerTimeoutError(f"the worker did not start within {_START_SECONDS:g} seconds")
            connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise WorkerDiedError(self._last_words()) from error
        return connection

    def _last_words(self) -> str:
        """Reap the dead worker and return how it ended."""
        process, log = self._process, self._log
        if process is None or log is None:
            return "the worker was stopped"
        # The connection closes a moment before the process can be reaped.
        try:
            code = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = 0
        log.seek(0)
        text = log.read().decode(errors="replace").strip()[-_LOG_CHARACTERS:]
        self.stop()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return f"the worker {how}" + (f": {text}" if text else "")
