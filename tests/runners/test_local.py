from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tuner.devices import available_cores, detect
from tuner.errors import RunnerClosedError, TunableError
from tuner.gpus import target_device
from tuner.runners import LocalRunner, Runner, create_runner
from tuner.runners.core import CoreTurn, split_cores
from tuner.runners.local import _Bench
from tuner.runners.process import WorkerDiedError, WorkerProcess, WorkerTimeoutError
from tuner.runners.station import Timeouts
from tuner.testing.runner import RunnerContract
from tuner.testing.toys import Parabola
from tuner.tunable import load, make_task
from tuner.types import Artifact, Build, Config, Device, Measurement, Sampling, Status, Task, Workload

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
    deadline = time.monotonic() + 30
    while runner.activity.builds_waiting:  # whoever is built first is timed first
        assert time.monotonic() < deadline
        time.sleep(0.05)
    waiting = runner.submit(toy_task(), Config(X=2, FAULT="none"), Sampling(0, 3))
    time.sleep(2)
    runner.close()
    for future in (hanging, waiting):
        with pytest.raises((RunnerClosedError, CancelledError)):
            future.result(timeout=10)


def in_turn(cores: Sequence[int], order: list[str], name: str, *, shared: bool = False) -> threading.Thread:
    """Return a started thread that takes its turn on `cores` and notes it in `order`."""

    def note() -> None:
        with CoreTurn().taken(cores, shared=shared):
            order.append(name)

    thread = threading.Thread(target=note)
    thread.start()
    time.sleep(0.2)
    return thread


# One core of several is enough to wait for; builds wait for what is timed, and the other way round.
@pytest.mark.parametrize("first_shared", [False, True])
@pytest.mark.parametrize("cores", [[999], [998, 999], [1000, 999]], ids=str)
def test_who_times_has_its_cores_alone(cores: Sequence[int], first_shared: bool) -> None:
    order: list[str] = []
    with CoreTurn().taken([999], shared=first_shared):
        thread = in_turn(cores, order, "second", shared=not first_shared)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


def test_who_builds_shares_its_cores_until_somebody_waits_to_time() -> None:
    order: list[str] = []
    with CoreTurn().taken([996, 997], shared=True):
        builder = in_turn([996, 997], order, "build", shared=True)
        timer = in_turn([997], order, "time")
        late = in_turn([997], order, "late build", shared=True)
        order.append("first build")
    for thread in (builder, timer, late):
        thread.join(timeout=10)
    assert order == ["build", "first build", "time", "late build"]


def test_who_waits_for_a_core_can_be_closed() -> None:
    first, second = CoreTurn(), CoreTurn()
    threading.Timer(0.2, second.close).start()
    with first.taken([995]), pytest.raises(RunnerClosedError), second.taken([994, 995]):
        pass
    # What it had taken is free again.
    with CoreTurn().taken([994]):
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
    assert len(workers) >= 2
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


@pytest.mark.parametrize(
    ("count", "building", "timing"),
    [(1, (0, 1, 2), (3,)), (2, (0, 1), (2, 3)), (4, (0, 1, 2, 3), (0, 1, 2, 3)), (5, (0, 1, 2, 3), (0, 1, 2, 3))],
)
def test_builds_keep_off_the_timing_cores(count: int, building: tuple[int, ...], timing: tuple[int, ...]) -> None:
    assert split_cores(range(4), replace(detect("cpu"), count=count)) == (building, timing)


def test_all_cores_build_for_a_gpu() -> None:
    assert split_cores(range(4), target_device("cuda:90")) == ((0, 1, 2, 3), ())


class Witness(Parabola):
    """Notes in a file when each build and each measurement begins and ends, and on which cores; takes a while."""

    def __init__(self, notes: Path) -> None:
        super().__init__()
        self._notes = notes

    def build_key(self, config: Config, workload: Workload, device: Device) -> str:
        return config.key

    def build(self, config: Config, workload: Workload, device: Device) -> Artifact:
        with self._noted("build"):
            time.sleep(0.2)
        return Artifact(config.key, b"", {})

    def measure(self, builds: Sequence[Build], workload: Workload, sampling: Sampling) -> list[Measurement]:
        with self._noted("measure"):
            time.sleep(0.1)
        return super().measure(builds, workload, sampling)

    @contextlib.contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        note = {"what": what, "from": started, "to": time.monotonic(), "cores": sorted(os.sched_getaffinity(0))}
        with self._notes.open("a") as file:
            file.write(json.dumps(note) + "\n")


def witness(folder: Path, device: Device) -> tuple[Task, Path]:
    """Return a task on `device` that notes what runs when and where, and the file of its notes."""
    notes, file = folder / "notes", folder / f"witness_{device.count}.py"
    file.write_text(
        "from pathlib import Path\n"
        "from tests.runners.test_local import Witness\n"
        f"KERNEL = Witness(Path({str(notes)!r}))\n"
    )
    tunable = load(f"{file}:KERNEL")
    return make_task(f"{file}:KERNEL", tunable, tunable.workload({"N": 3}), device), notes


def evaluate_side_by_side(runner: Runner, tasks: Sequence[Task]) -> None:
    """Submit six configs of each task at once, and wait for them."""
    futures = [runner.submit(task, Config(X=x, FAULT="none"), Sampling(0, 3)) for x in range(6) for task in tasks]
    assert all(future.result(timeout=120).status is Status.CORRECT for future in futures)


def require_turns(notes: Path) -> list[dict[str, Any]]:
    """Check that no measurement shared a core with anything else at any time, and return the notes."""
    found = [json.loads(line) for line in notes.read_text().splitlines()]
    for one, other in itertools.combinations(found, 2):
        together = one["from"] < other["to"] and other["from"] < one["to"]
        if together and {one["what"], other["what"]} != {"build"}:
            assert not set(one["cores"]) & set(other["cores"]), f"{one} beside {other}"
    return found


needs_two_cores = pytest.mark.skipif(
    len(available_cores()) < 2, reason="this process may use one core only; run it on a machine with two or more"
)


@needs_two_cores
@pytest.mark.parametrize("count", [1, 2])
def test_workers_run_on_the_cores_of_the_device_and_beside_it(count: int, tmp_path: Path) -> None:
    task, notes = witness(tmp_path, detect(f"cpu:{count}"))
    runner = LocalRunner(cache=tmp_path / "cache")
    evaluate_side_by_side(runner, [task])
    runner.close()
    building, timing = (list(cores) for cores in split_cores(available_cores(), task.device))
    cores = {(note["what"], str(note["cores"])) for note in require_turns(notes)}
    # The first builds are made when there is nothing to time yet: one of them borrows the timing cores.
    assert cores == {("build", str(building)), ("build", str(timing)), ("measure", str(timing))}


@pytest.mark.slow
def test_nothing_is_built_beside_a_measurement_on_the_whole_machine(tmp_path: Path) -> None:
    """Two campaigns, one of them with more builders than cores, and tasks of different counts."""
    cores = len(available_cores())
    whole, notes = witness(tmp_path, detect(f"cpu:{cores}"))
    one, _ = witness(tmp_path, detect("cpu"))
    runners = [LocalRunner(cache=tmp_path / "a", builders=cores + 1), LocalRunner(cache=tmp_path / "b")]
    with ThreadPoolExecutor(2) as pool:
        done = [
            pool.submit(evaluate_side_by_side, runner, tasks)
            for runner, tasks in zip(runners, ([whole, one], [one]), strict=True)
        ]
    for runner in runners:
        runner.close()
    for future in done:
        future.result()
    found = require_turns(notes)
    assert len([note for note in found if note["what"] == "measure"]) == 18


def test_runners_are_found_by_name() -> None:
    runner = create_runner("local")
    assert isinstance(runner, LocalRunner)
    runner.close()


def test_a_builder_borrows_only_while_nothing_is_timed() -> None:
    own, borrower = cast("Any", object()), cast("Any", object())
    bench = _Bench([own], [borrower])
    with bench.taken() as first:
        assert first is own
        with bench.taken() as second:
            assert second is borrower
        bench.count_measurement(1)
        with ThreadPoolExecutor(1) as pool:

            def take() -> object:
                with bench.taken() as builder:
                    return builder

            waiting = pool.submit(take)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.2)
            bench.count_measurement(-1)
            assert waiting.result(timeout=10) is borrower
    with bench.taken() as first:
        assert first is own
