from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from tuner.campaign import Campaign, task_of
from tuner.cli.output import roofline_text
from tuner.cli.roofline import ensure_peaks, peaks_rows, rooflines_of
from tuner.db import MemoryStore
from tuner.errors import TunableError
from tuner.plan import Plan
from tuner.result import Result
from tuner.roofline import roofline
from tuner.runners import Activity
from tuner.testing.store import make_peaks
from tuner.types import Config, Measurement, Sampling, Status, Task, Work

SUM = {"M": 4, "N": 1024}


class Asked:
    """A runner whose comparisons all fail, and that counts them."""

    capacity = 1
    activity = Activity()

    def __init__(self, error: Exception | None = None) -> None:
        self.comparisons = 0
        self._error = error

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        raise NotImplementedError

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        self.comparisons += 1
        future: Future[list[Measurement]] = Future()
        if self._error:
            future.set_exception(self._error)
        else:
            future.set_result([Measurement(Status.RUNTIME, error="no memory")] * len(configs))
        return future

    def close(self) -> None:
        pass


def campaign(kernel: str, fields: dict[str, bool | int | float | str], runner: Asked) -> Campaign:
    return Campaign([task_of(kernel, fields)], Plan(agent="random"), runner=runner, store=MemoryStore())


@pytest.mark.parametrize("error", [None, TunableError("no memory")])
def test_peaks_that_cannot_be_measured_are_one_line(error: Exception | None) -> None:
    said: list[str] = []
    asked = Asked(error)
    ensure_peaks(campaign("add_rmsnorm", {**SUM}, asked), said.append)
    assert asked.comparisons == 1
    assert len(said) == 2
    assert said[1].startswith("no roofline: ")
    assert said[1].endswith("no memory")


def test_peaks_that_the_store_has_are_not_measured() -> None:
    asked = Asked()
    known = campaign("add_rmsnorm", {**SUM}, asked)
    known.store.keep_peaks(known.tasks[0].device, make_peaks())
    ensure_peaks(known, pytest.fail)
    assert asked.comparisons == 0


def test_what_is_not_built_needs_no_peaks() -> None:
    asked = Asked()
    ensure_peaks(campaign("tuner.testing.toys:PARABOLA", {"N": 3}, asked), pytest.fail)
    assert asked.comparisons == 0


def test_the_time_is_that_of_the_config_to_use() -> None:
    task = task_of("tuner.testing.toys:PARABOLA", {"N": 3})
    store = MemoryStore()
    kept = Result(task, 1, {}, Config(X=0), default_seconds=2.0, best_seconds=4.0)
    promoted = Result(task, 1, {}, Config(X=3), default_seconds=2.0, best_seconds=1.0, promoted=True)
    assert rooflines_of(store, [kept]) == {}
    store.keep_peaks(task.device, make_peaks(1e11))
    assert rooflines_of(store, [kept])[task.key].flops_share == pytest.approx(0.5e-11)
    assert rooflines_of(store, [promoted])[task.key].flops_share == pytest.approx(1e-11)
    assert rooflines_of(store, [Result(task, 0, {}, Config(X=0))]) == {}


def test_cold_caches_are_bounded_by_memory() -> None:
    store = MemoryStore()
    warm = task_of("tuner.testing.toys:PARABOLA", {"N": 3})
    cold = Task(warm.tunable, warm.version, type(warm.workload)(N=3, cache="cold"), warm.device)
    store.keep_peaks(warm.device, make_peaks())
    for task, level in ((warm, "L1"), (cold, "memory")):
        result = Result(task, 1, {}, Config(X=0), default_seconds=1.0)
        assert rooflines_of(store, [result])[task.key].level.name == level


def test_a_kernel_that_is_gone_has_no_roofline() -> None:
    store = MemoryStore()
    task = task_of("tuner.testing.toys:PARABOLA", {"N": 3})
    store.keep_peaks(task.device, make_peaks())
    gone = Task("nowhere.py:KERNEL", "1", task.workload, task.device)
    assert rooflines_of(store, [Result(gone, 1, {}, Config(X=0), default_seconds=1.0)]) == {}


def test_people_read_shares_and_the_bound() -> None:
    # 1.5e10 bytes a second from memory, 1e11 flops a second.
    found = roofline(Work(flops=4e9, bytes=10.65e9), 1.0, make_peaks(), cold=True)
    assert roofline_text(found) == "71% of memory bandwidth (15 GB/s), 4% of 100 GFLOP/s; bound by memory"
    assert ["memory bandwidth", "15 GB/s (read of 256 MiB)"] in peaks_rows(make_peaks())
