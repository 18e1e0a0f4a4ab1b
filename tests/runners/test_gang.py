from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.runners.test_gpus import task as gpu_task
from tuner.errors import RunnerClosedError, TunerError
from tuner.runners import LocalRunner, Runner
from tuner.runners.gang import Gang
from tuner.runners.placement import placement_of
from tuner.tunable import Placeable, load, make_task
from tuner.types import Config, Measurement, Sampling, Status, Task, Workload

REFERENCE = "tuner.testing.engine:WIDE"


def wide_task(memory_bytes: int = 8 << 30, *, kind: str = "cuda") -> Task:
    """The wide toy engine, on devices that need not be here."""
    tunable = load(REFERENCE)
    device = replace(gpu_task().device, kind="cpu", memory_bytes=memory_bytes)
    task = make_task(REFERENCE, tunable, Workload(N=3), device)
    return replace(task, device=replace(task.device, kind=kind))


def wide(ranks: int, batch: int = 3) -> Config:
    return Config(BATCH=batch, THREADS=1, FAULT="none", RANKS=ranks)


def results(runner: Runner, task: Task, sizes: Sequence[int]) -> list[Measurement]:
    """Measure servers of these sizes at once, each alone."""
    waiting: list[Future[list[Measurement]]] = [
        runner.compare(task, [wide(size, batch=number)], Sampling(0, 2), fresh=False)
        for number, size in enumerate(sizes)
    ]
    return [future.result(timeout=300)[0] for future in waiting]


def test_devices_are_lent_in_order_and_never_twice() -> None:
    gang = Gang([str(number) for number in range(8)])
    lent: set[str] = set()
    most = 0
    lock = threading.Lock()

    def use(count: int) -> None:
        nonlocal most
        with gang.taken(count) as mine:
            with lock:
                assert not lent & set(mine)
                assert len(mine) == count
                lent.update(mine)
                most = max(most, len(lent))
            time.sleep(0.002)
            with lock:
                lent.difference_update(mine)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(use, [1, 2, 4, 8] * 16))
    assert not lent
    assert most == 8


def test_a_large_group_is_not_starved_by_small_ones() -> None:
    gang = Gang(["0", "1"])
    order: list[str] = []

    def use(name: str, count: int) -> None:
        with gang.taken(count):
            order.append(name)

    with gang.taken(1):
        threads = []
        for name, count in (("large", 2), ("small", 1)):
            threads.append(threading.Thread(target=use, args=(name, count)))
            threads[-1].start()
            while len(gang._waiting) < len(threads):
                time.sleep(0.001)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == ["large", "small"]


def test_what_there_is_not_is_not_waited_for() -> None:
    gang = Gang(["0", "1"])
    with pytest.raises(TunerError, match="3 devices are asked for, and there are 2"), gang.taken(3):
        pass
    with gang.taken(2):
        gang.close()
        with pytest.raises(RunnerClosedError), gang.taken(1):
            pass


def test_a_measurement_takes_the_devices_of_the_servers_that_run_at_once() -> None:
    task = wide_task()
    assert isinstance(load(REFERENCE), Placeable)
    assert placement_of(task, [wide(1), wide(2), wide(1)], 8).devices == 3
    # No room for both: they take turns.
    assert placement_of(task, [wide(1), wide(8)], 8).devices == 8
    assert placement_of(gpu_task(), [Config(X=1), Config(X=2)], 8).devices == 1
    assert "needs 8 devices at once, and the largest machine has 4" in placement_of(task, [wide(8)], 4).refusal
    small = wide_task(memory_bytes=1 << 29)
    assert placement_of(small, [wide(1)], 4).refusal == "needs 1 GiB of memory on each device, which has 0.5"


@pytest.mark.slow
def test_servers_of_several_gpus_share_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    runner = LocalRunner(builders=1, gpus=4)
    try:
        task = wide_task()
        found = results(runner, task, [1, 2, 4, 1, 2, 8])
        assert [one.status for one in found] == [Status.CORRECT] * 5 + [Status.CONSTRAINTS]
        assert [len(str(one.resources["visible"]).split(",")) for one in found[:5]] == [1, 2, 4, 1, 2]
        assert [one.resources["devices"] for one in found[:5]] == [1, 2, 4, 1, 2]
        assert found[5].error == "needs 8 devices at once, and the largest machine has 4"
        # Two servers of one and of four devices do not fit beside each other, and are compared in turns.
        one, four = runner.compare(task, [wide(1), wide(4)], Sampling(0, 2), fresh=True).result(timeout=120)
        assert (one.status, four.status) == (Status.CORRECT, Status.CORRECT)
        assert (four.resources["devices"], four.resources["reference_devices"]) == (4, 1)
        assert four.resources["applied"] == "start"
    finally:
        runner.close()


def test_a_cpu_s_server_takes_no_more_than_the_task_s_cores() -> None:
    runner = LocalRunner(builders=1)
    try:
        task = wide_task(kind="cpu")
        one, two = results(runner, task, [1, 2])
        assert one.status is Status.CORRECT
        assert two.status is Status.CONSTRAINTS
    finally:
        runner.close()
