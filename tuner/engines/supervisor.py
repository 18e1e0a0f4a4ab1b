"""Stands between a driver and a server: whatever happens to the driver, nothing of the server is left behind.

Run as `python -I -S supervisor.py DESCRIPTOR COMMAND...`, where the descriptor is one end of a socket pair whose other
end the driver holds. It starts the command in a session of its own and ends it, with everything that it started, when
the driver says so (a line `stop SECONDS`, the time that the server has to end by itself), when the driver closes its
end or dies, or when the server's first process ends, because a server that lost it serves nobody. It tells the driver
lines of JSON: `{"pid": 12}`, `{"exit": 1}` (negative: the signal), at last `{"left": 0}` once nobody is left.

A group or a session is not enough: servers give their workers sessions of their own. On Linux this process is the
subreaper of all it started, so that orphans become its children; each is found by descent and killed by its number.
Elsewhere the server's group is killed. Only the standard library is used, so that it starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

__all__ = ["descendants", "main"]

_SET_CHILD_SUBREAPER = 36
_SET_DEATH_SIGNAL = 1
_LOOK_SECONDS = 0.05
_KILL_SECONDS = 30.0
_IS_LINUX = sys.platform == "linux"


def main(arguments: list[str]) -> None:
    """Run the command until it ends or must."""
    driver = socket.socket(fileno=int(arguments[0]))
    driver.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: driver.shutdown(socket.SHUT_RD))
    library = ctypes.CDLL(None, use_errno=True) if _IS_LINUX else None
    if library is not None:
        library.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def die_with_supervisor() -> None:
        if library is not None:
            library.prctl(_SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)

    try:
        server = subprocess.Popen(
            arguments[1:],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_supervisor,  # noqa: PLW1509 - there is one thread
        )
    except OSError as error:
        _tell(driver, {"refused": f"{arguments[1]}: {error.strerror}"})
        return
    _tell(driver, {"pid": server.pid})
    grace = _wait(driver, server)
    code = _end(server, grace)
    _tell(driver, {"exit": code})
    _tell(driver, {"left": _kill_descendants(server.pid)})


def descendants(root: int) -> list[int]:
    """Return the numbers of all processes below `root`, parents before children; empty where there is no `/proc`."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc") if _IS_LINUX else ():
        if entry.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{entry}/stat", "rb") as file:
                    # The name, in brackets, may hold anything; after it come the state and the parent.
                    parent = int(file.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _wait(driver: socket.socket, server: subprocess.Popen[bytes]) -> float:
    """Return how long the server has to end by itself, once it must: at once where nobody is there to say so."""
    said = b""
    while server.poll() is None:
        if not select.select([driver], [], [], _LOOK_SECONDS)[0]:
            continue
        try:
            read = driver.recv(100)
        except OSError:
            return 0.0
        if not read:
            return 0.0
        said += read
        if b"\n" in said:
            return float(said.split()[1])
    return 0.0


def _end(server: subprocess.Popen[bytes], grace: float) -> int:
    """Ask the server to end, and make it, when it does not; return its exit code."""
    with contextlib.suppress(ProcessLookupError):
        if grace > 0 and server.poll() is None:
            server.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(grace)
    if server.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, signal.SIGKILL)
    return server.wait()


def _kill_descendants(group: int) -> int:
    """Kill and reap everything that the server left; return how many would not go."""
    if not _IS_LINUX:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    until = time.monotonic() + _KILL_SECONDS
    while left := descendants(os.getpid()):
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if time.monotonic() > until:
            return len(left)
        time.sleep(_LOOK_SECONDS / 10)
    return 0


def _tell(driver: socket.socket, message: dict[str, object]) -> None:
    with contextlib.suppress(OSError):
        driver.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
