from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from tuner.devices import detect
from tuner.errors import RunnerClosedError, TunableError
from tuner.runners import LocalRunner, Runner, create_runner
from tuner.runners.core import CoreTurn
from tuner.runners.local import split_cores
from tuner.runners.process import WorkerDiedError, WorkerProcess, WorkerTimeoutError
from tuner.runners.station import Timeouts
from tuner.testing.runner import RunnerContract
from tuner.tunable import load, make_task
from tuner.types import Config, Sampling, Status, Task

SHORT = Timeouts(build_seconds=6, measure_seconds=6)


@pytest.mark.slow
class TestLocalRunner(RunnerContract):
    @classmethod
    def make(cls) -> Runner:
        return LocalRunner(timeouts=SHORT)


def toy_task(reference: str = "tuner.testing.toys:FAULTY") -> Task:
    tunable = load(reference)
    return make_task(reference, tunable, tunable.workload({"N": 3}), detect("cpu"))


def children_of(pid: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.add(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_build_is_made_once_and_measured_from_the_cache(tmp_path: Path) -> None:
    kernel = load("cpp:add_rmsnorm")
    task = make_task("cpp:add_rmsnorm", kernel, kernel.workload({"M": 2, "N": 64}), detect("cpu"))
    config = kernel.default(task.workload, task.device)
    for _ in range(2):
        runner = LocalRunner(cache=tmp_path)
        assert runner.submit(task, config, Sampling(0, 3)).result(timeout=120).status is Status.CORRECT
        runner.close()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_tunable_that_changed_stops_the_campaign(tmp_path: Path) -> None:
    source = "from tuner.testing.toys import Parabola\nKERNEL = Parabola()\nKERNEL.version = '{}'\n"
    file = tmp_path / "mine.py"
    file.write_text(source.format("1"))
    task = toy_task(f"{file}:KERNEL")
    file.write_text(source.format("2"))
    runner = LocalRunner()
    with pytest.raises(TunableError, match="has changed since the campaign started"):
        runner.submit(task, Config(X=1, FAULT="none"), Sampling(0, 3)).result(timeout=120)
    runner.close()


def test_closing_leaves_no_process_even_when_a_kernel_hangs() -> None:
    before = children_of(os.getpid())
    runner = LocalRunner()
    runner.submit(toy_task(), Config(X=1, FAULT="hang"), Sampling(0, 3))
    deadline = time.monotonic() + 30
    while runner.activity.builds_waiting or len(children_of(os.getpid()) - before) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = children_of(os.getpid()) - before
    runner.close()
    runner.close()
    assert not any(alive(pid) for pid in workers)


def test_closing_says_nothing_about_what_was_being_evaluated() -> None:
    """A config that was interrupted must not be recorded as one that failed."""
    runner = LocalRunner()
    hanging = runner.submit(toy_task(), Config(X=1, FAULT="hang"), Sampling(0, 3))
    waiting = runner.submit(toy_task(), Config(X=2, FAULT="none"), Sampling(0, 3))
    time.sleep(2)
    runner.close()
    for future in (hanging, waiting):
        with pytest.raises((RunnerClosedError, CancelledError)):
            future.result(timeout=10)


def test_campaigns_take_turns_on_a_core() -> None:
    first, second = CoreTurn([999]), CoreTurn([999])
    order: list[str] = []

    def wait_for_turn() -> None:
        with second.taken():
            order.append("second")

    with first.taken():
        thread = threading.Thread(target=wait_for_turn)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


def test_who_waits_for_a_core_can_be_closed() -> None:
    first, second = CoreTurn([998]), CoreTurn([998])
    threading.Timer(0.2, second.close).start()
    with first.taken(), pytest.raises(RunnerClosedError), second.taken():
        pass


def test_a_file_in_the_current_folder_does_not_replace_a_library_s(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong random')\n")
    runner = LocalRunner()
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        done = runner.submit(toy_task(), Config(X=1, FAULT="none"), Sampling(0, 3)).result(timeout=60)
    finally:
        os.chdir(before)
        runner.close()
    assert done.status is Status.CORRECT


def test_workers_end_when_their_parent_is_killed() -> None:
    code = (
        "import time\n"
        "from tests.runners.test_local import toy_task\n"
        "from tuner.runners import LocalRunner\n"
        "from tuner.types import Config, Sampling\n"
        "runner = LocalRunner()\n"
        "runner.submit(toy_task(), Config(X=1, FAULT='none'), Sampling(0, 3)).result()\n"
        "runner.submit(toy_task(), Config(X=1, FAULT='hang'), Sampling(0, 3))\n"
        "print('hanging', flush=True)\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"hanging\n"
    workers = children_of(parent.pid)
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 15
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.1)


def test_a_worker_is_not_reached_by_the_terminal_s_ctrl_c(tmp_path: Path) -> None:
    worker = WorkerProcess(tmp_path)
    request = {"do": "build", "task": toy_task().to_json(), "config": {"X": 1, "FAULT": "none"}}
    assert worker.ask(request, 60) == {"key": None}
    assert worker._process is not None
    assert os.getsid(worker._process.pid) == worker._process.pid != os.getsid(0)
    worker.close()
    with pytest.raises(RunnerClosedError, match="closed"):
        worker.ask(request, 1)


def test_a_killed_worker_leaves_no_files(tmp_path: Path) -> None:
    left = set(Path(tempfile.gettempdir()).glob("tuner-worker-*"))
    worker = WorkerProcess(tmp_path)
    request = {"do": "build", "task": toy_task().to_json(), "config": {"X": 1, "FAULT": "build_hang"}}
    with pytest.raises(WorkerTimeoutError):
        worker.ask(request, 2)
    assert set(Path(tempfile.gettempdir()).glob("tuner-worker-*")) <= left


def test_a_dead_worker_says_how_it_died(tmp_path: Path) -> None:
    worker = WorkerProcess(tmp_path)
    request = {"do": "build", "task": toy_task().to_json(), "config": {"X": 1, "FAULT": "none"}}
    worker.ask(request, 60)
    assert worker._process is not None
    os.kill(worker._process.pid, signal.SIGSEGV)
    worker._process.wait()
    with pytest.raises(WorkerDiedError, match="SIGSEGV"):
        worker.ask(request, 60)
    assert worker.ask(request, 60) == {"key": None}
    worker.close()


def test_builds_keep_off_the_timing_core() -> None:
    building, timing = split_cores()
    assert len(timing) == 1
    assert building == timing or not set(building) & set(timing)


def test_runners_are_found_by_name() -> None:
    runner = create_runner("local")
    assert isinstance(runner, LocalRunner)
    runner.close()
