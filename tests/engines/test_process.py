from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tuner.engines import EngineError, EngineLateError
from tuner.engines.process import ServerCommand, ServerProcess
from tuner.engines.supervisor import descendants

linux = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

SERVE = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

# Workers as engines have them: one a plain child, one in a session of its own, one an orphan.
WORKERS = """
import os, subprocess, sys
sleep = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)", sys.argv[2]]
subprocess.Popen(sleep)
subprocess.Popen(sleep, start_new_session=True)
start = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
subprocess.run([sys.executable, "-c", start, *sleep])
"""

FAULTS = {
    "raises": "raise ValueError('block_size 17 is not supported')",
    "exits with 0": "print('RuntimeError: worker died'); sys.exit(0)",
    "never answers": "import time; time.sleep(1000)",
    "lacks memory": "import time; print('KV is larger than the available memory', flush=True); time.sleep(1000)",
    "is killed": "os.kill(os.getpid(), 9)",
    "ignores SIGTERM": "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)",
}


def command(program: str, mark: str = "") -> ServerCommand:
    return ServerCommand((sys.executable, "-c", "import os, sys\n" + textwrap.dedent(program), "{port}", mark))


def marked(mark: str) -> list[int]:
    """Return the processes that have `mark` among their words."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark.encode() in words:
                found.append(int(entry.name))
    return found


def gone(mark: str) -> bool:
    until = time.monotonic() + 10
    while marked(mark) and time.monotonic() < until:
        time.sleep(0.02)
    return not marked(mark)


def test_a_server_serves_until_it_is_stopped() -> None:
    with ServerProcess(command(SERVE)) as server:
        assert server.is_alive
        assert server.answers()
        assert server.failure() == ""
        assert server.url.endswith(str(server.port))
        assert server.start_seconds > 0
    assert not server.is_alive
    server.stop()


@linux
def test_usage_covers_workers() -> None:
    with ServerProcess(command(WORKERS + SERVE, "usage-of-workers")) as server:
        usage = server.usage()
        assert usage.memory_bytes > 4 * 2**20
        assert usage.cpu_seconds > 0


@linux
@pytest.mark.parametrize("fault", FAULTS)
def test_forced_failures_leave_no_orphan(fault: str) -> None:
    """With the ways to stop below, more than twenty failures, each of a server with three workers."""
    for attempt in range(2):
        mark = f"orphan-of-{fault.replace(' ', '-')}-{attempt}-{os.getpid()}"
        server = ServerProcess(command(WORKERS + FAULTS[fault], mark), deadline_seconds=1.5)
        with pytest.raises(EngineError):
            server.start()
        assert marked(mark) == []


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_a_server_that_dies_while_serving_takes_its_workers_along(number: int) -> None:
    mark = f"dies-of-{int(number)}-{os.getpid()}"
    with ServerProcess(command(WORKERS + SERVE, mark)) as server:
        first = next(
            one for one in marked(mark) if words_of(one).startswith(sys.executable.encode() + b"\0-c\0import os")
        )
        os.kill(first, number)
        assert gone(mark)
        assert not server.is_alive
        assert f"killed by signal {int(number)}" in server.failure()
        assert server.exit_code == -number


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_driver_that_dies_takes_the_server_along(number: int) -> None:
    mark = f"driver-dies-of-{int(number)}-{os.getpid()}"
    driver = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from tuner.engines.process import ServerCommand, ServerProcess\n"
            "server = ServerProcess(ServerCommand((sys.executable, '-c', sys.argv[1], '{port}', sys.argv[2])))\n"
            "server.start(); print('up', flush=True); time.sleep(1000)",
            WORKERS + SERVE,
            mark,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert driver.stdout is not None
    with driver:
        assert driver.stdout.readline() == b"up\n"
        assert len(marked(mark)) >= 4
        os.killpg(driver.pid, number)
        driver.wait()
    assert gone(mark)


@linux
def test_an_interrupt_during_the_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = f"interrupted-{os.getpid()}"
    server = ServerProcess(command(WORKERS + FAULTS["never answers"], mark))

    def interrupt(self: ServerProcess) -> bool:
        if len(marked(mark)) < 4:
            return False
        raise KeyboardInterrupt

    monkeypatch.setattr(ServerProcess, "answers", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert marked(mark) == []


@linux
def test_a_supervisor_that_is_killed_takes_the_server_along() -> None:
    mark = f"supervisor-dies-{os.getpid()}"
    with ServerProcess(command(SERVE, mark)) as server:
        # The supervisor has the server's words among its own.
        supervisor = next(process for process in marked(mark) if b"supervisor.py" in words_of(process))
        assert descendants(supervisor)
        os.kill(supervisor, signal.SIGKILL)
        assert gone(mark)
        assert not server.is_alive


def test_the_reason_is_the_engines_own() -> None:
    with pytest.raises(EngineError, match="ended with status 1: ValueError: block_size 17 is not supported"):
        ServerProcess(command(FAULTS["raises"])).start()


def test_an_exit_code_of_0_is_a_failure_too() -> None:
    with pytest.raises(EngineError, match="ended with status 0: RuntimeError: worker died"):
        ServerProcess(command(FAULTS["exits with 0"])).start()


def test_what_will_never_serve_is_not_waited_for() -> None:
    with pytest.raises(EngineError, match="larger than the available memory") as caught:
        ServerProcess(command(FAULTS["lacks memory"]), deadline_seconds=60).start()
    assert not isinstance(caught.value, EngineLateError)


def test_a_start_has_a_deadline() -> None:
    with pytest.raises(EngineLateError, match=r"within 0\.5 seconds"):
        ServerProcess(command(FAULTS["never answers"]), deadline_seconds=0.5).start()


def test_a_program_that_is_not_there_is_said() -> None:
    with pytest.raises(EngineError, match="no-such-program"):
        ServerProcess(ServerCommand(("no-such-program",))).start()


def test_a_taken_port_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr("tuner.engines.process._free_port", lambda: next(ports))
        with ServerProcess(command(SERVE)) as server:
            assert server.port != taken.getsockname()[1]


def test_another_server_on_the_port_is_not_taken_for_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with ServerProcess(command(SERVE)) as other:
        monkeypatch.setattr("tuner.engines.process._free_port", lambda: other.port)
        with pytest.raises(EngineLateError):
            ServerProcess(command(FAULTS["never answers"]), deadline_seconds=1).start()


def test_what_is_meant_for_workers_does_not_reach_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    shown = "raise ValueError(f\"{os.environ.get('OMP_NUM_THREADS')} {'PYTHONPATH' in os.environ} {os.environ['AT']}\")"
    told = command(shown)
    told = ServerCommand(told.words, {"AT": "port {port}"})
    with pytest.raises(EngineError, match=r"None False port \d+"):
        ServerProcess(told).start()


def words_of(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
