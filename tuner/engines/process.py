"""A server process: started on a port of our choosing, waited for, and ended with everything that it started."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tuner.engines import log
from tuner.engines.base import EngineError, EngineLateError
from tuner.engines.supervisor import descendants

__all__ = ["PORT", "ServerCommand", "ServerProcess", "Usage"]

PORT = "{port}"
"""What stands for the port in a command's words and environment."""

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_POLL_SECONDS = 0.1
_PROBE_SECONDS = 2.0
_GRACE_SECONDS = 10.0
_ATTEMPTS = 4
_TAIL_BYTES = 200_000

# A worker keeps its own libraries to one thread and finds modules where its parent does; neither is for a server, which
# may be of another Python altogether.
_OURS = (
    "GOMP_SPINCOUNT",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHOME",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How a server is started.

    Attributes:
        words: The program and its arguments; `{port}` stands for the port.
        environment: Variables beside those of this process; `{port}` here, too.
        health: The path that answers 200 once the server serves.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    health: str = "/health"

    def at(self, port: int) -> list[str]:
        """Return the words with the port in them."""
        return [word.replace(PORT, str(port)) for word in self.words]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server has used so far, over all its processes.

    Attributes:
        cpu_seconds: User and system time.
        memory_bytes: Memory now, what processes share counted once (Linux's proportional set size).
    """

    cpu_seconds: float
    memory_bytes: int

    @classmethod
    def of(cls, processes: Sequence[int]) -> Usage:
        """Return what these processes use; those that are gone use nothing."""
        ticks = os.sysconf("SC_CLK_TCK")
        cpu, memory = 0, 0
        for process in processes:
            with contextlib.suppress(OSError, ValueError, IndexError):
                # After the name: state, parent, ...; the 12th to 15th are the ticks, its own and its dead children's.
                after = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
                cpu += sum(int(value) for value in after[11:15])
            with contextlib.suppress(OSError, ValueError, IndexError):
                for line in Path(f"/proc/{process}/smaps_rollup").read_bytes().splitlines():
                    if line.startswith(b"Pss:"):
                        memory += 1024 * int(line.split()[1])
        return cls(cpu / ticks, memory)


class ServerProcess:
    """One server, running from `start` until `stop`, the death of this process, or its own.

    It and its supervisor run in sessions of their own: Ctrl-C at the terminal reaches neither. When this process dies,
    even by SIGKILL, its end of the supervisor's socket closes, and the supervisor ends the server. Its exit code
    decides nothing: engines are known to end with 0 after a crash. Not for several threads at once.

    Args:
        command: What to run.
        deadline_seconds: How long it may take until it answers.

    Example:
        >>> page = "import http.server as s; s.test(s.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')"
        >>> with ServerProcess(ServerCommand((sys.executable, "-c", page), health="/")) as server:
        ...     server.is_alive
        True
        >>> server.is_alive
        False
    """

    def __init__(self, command: ServerCommand, *, deadline_seconds: float = 60.0) -> None:
        self._command = command
        self._deadline_seconds = deadline_seconds
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._said = b""
        self._log: Path | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._port = 0
        self._exit: int | None = None
        self._start_seconds = 0.0
        self._last_words = ""

    @property
    def url(self) -> str:
        """Where it serves, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """The port, chosen when it started."""
        return self._port

    @property
    def start_seconds(self) -> float:
        """How long the start took, or the failed one."""
        return self._start_seconds

    @property
    def is_alive(self) -> bool:
        """Whether its first process runs."""
        self._listen()
        return self._supervisor is not None and self._exit is None

    @property
    def exit_code(self) -> int | None:
        """How its first process ended, negative for a signal; None while it runs."""
        self._listen()
        return self._exit

    def start(self) -> Self:
        """Start it, and return once it answers; a port that somebody else took meanwhile is replaced by another.

        Raises:
            EngineError: it ended, or says itself that it cannot; the message has the reason from its log.
            EngineLateError: it did not answer in time, and was killed.
        """
        started = time.monotonic()
        for attempt in range(_ATTEMPTS):
            self._spawn()
            try:
                self._await(started + self._deadline_seconds)
                return self
            except EngineError:
                taken = log.is_port_taken(self.log_text())
                self.stop(grace_seconds=0)
                if not taken or attempt == _ATTEMPTS - 1 or time.monotonic() > started + self._deadline_seconds:
                    raise
            except BaseException:
                self.stop(grace_seconds=0)
                raise
            finally:
                self._start_seconds = time.monotonic() - started
        raise AssertionError("the last attempt returns or raises")

    def answers(self) -> bool:
        """Return whether it says now that it is well."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PROBE_SECONDS)
        try:
            connection.request("GET", self._command.health)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def usage(self) -> Usage:
        """Return what it has used so far; nothing where there is no `/proc`."""
        if self._supervisor is None:
            return Usage(0.0, 0)
        return Usage.of(descendants(self._supervisor.pid))

    def log_text(self) -> str:
        """Return the end of what it printed."""
        if self._log is None:
            return self._last_words
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")

    def failure(self) -> str:
        """Return how it ended and why, for people; empty where it is well."""
        if self.is_alive and self.answers():
            return ""
        how = "does not answer" if self.is_alive else _how(self._exit)
        why = log.reason(self.log_text())
        return f"the server {how}" + (f": {why}" if why else "")

    def stop(self, *, grace_seconds: float = _GRACE_SECONDS) -> None:
        """End it and everything it started: asked to, then killed. Stopping twice is fine."""
        supervisor, ours = self._supervisor, self._socket
        if supervisor is not None and ours is not None:
            with contextlib.suppress(OSError):
                ours.sendall(f"stop {grace_seconds}\n".encode())
            with contextlib.suppress(OSError):
                self._listen(until_closed=True)
            ours.close()
            supervisor.wait()
            self._supervisor = self._socket = None
        if self._folder is not None:
            self._last_words = self.log_text()
            self._folder.cleanup()
            self._folder = self._log = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tuner-server-")
        self._log = Path(self._folder.name, "log")
        self._port, self._exit, self._said = _free_port(), None, b""
        environment = {name: value for name, value in os.environ.items() if name not in _OURS}
        for name, value in self._command.environment.items():
            environment[name] = value.replace(PORT, str(self._port))
        ours, theirs = socket.socketpair()
        words = self._command.at(self._port)
        with theirs, self._log.open("wb") as output:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", _SUPERVISOR, str(theirs.fileno()), *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=environment,
            )
        self._socket = ours

    def _await(self, deadline: float) -> None:
        while True:
            if not self.is_alive:
                raise EngineError(self.failure())
            if self.answers() and self._listens():
                return
            text = self.log_text()
            if (hopeless := log.verdict(text)) or log.is_port_taken(text):
                raise EngineError(f"the server will not start: {hopeless or log.reason(text)}")
            if time.monotonic() > deadline:
                why = log.reason(text)
                message = f"the server did not answer within {self._deadline_seconds:g} seconds"
                raise EngineLateError(message + (f": {why}" if why else ""))
            time.sleep(_POLL_SECONDS)

    def _listens(self) -> bool:
        """Return whether it is this server that listens on the port, and not another's that was faster."""
        if self._supervisor is None or sys.platform != "linux":
            return True
        sockets = {f"socket:[{inode}]" for inode in _listening(self._port)}
        for process in descendants(self._supervisor.pid):
            with contextlib.suppress(OSError):
                for descriptor in Path(f"/proc/{process}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if os.readlink(descriptor) in sockets:
                            return True
        return False

    def _listen(self, *, until_closed: bool = False) -> None:
        """Read what the supervisor says: what it has said, or all until nobody is left."""
        while self._socket is not None and (until_closed or select.select([self._socket], [], [], 0)[0]):
            read = self._socket.recv(4096)
            if not read:
                # A supervisor that is gone without a word was killed, and the server with it.
                self._exit = -9 if self._exit is None else self._exit
                return
            *lines, self._said = (self._said + read).split(b"\n")
            for line in lines:
                said: dict[str, Any] = json.loads(line)
                if "refused" in said:
                    self._exit, self._last_words = 127, said["refused"]
                    raise EngineError(f"the server cannot be started: {said['refused']}")
                self._exit = said.get("exit", self._exit)


def _free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listening(port: int) -> list[str]:
    """Return the inodes of the sockets that listen on `port`."""
    inodes = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                # Local address as hexadecimal ADDRESS:PORT, state 0A for listening; the tenth word is the inode.
                if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                    inodes.append(words[9])
    return inodes


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with status {code}"
    return f"was killed by signal {-code}"
