from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.test_cpp_kernels import FEATURES, KERNELS, SHAPES, build_all
from tests.runners.test_local import children_of, needs_two_cores
from tuner.devices import detect
from tuner.kernels.base import Operator, Output
from tuner.kernels.check import Arguments
from tuner.kernels.toolchains.cpp import CppKernel, thread_parameters
from tuner.runners import LocalRunner
from tuner.runners.station import Timeouts
from tuner.search_spaces import SearchSpace
from tuner.tunable import load, make_task
from tuner.types import Config, Device, Sampling, Scalar, Status, Task, Work, Workload

SCHEDULES = ("static", "dynamic")


def cores(count: int) -> Device:
    """Return a device of `count` cores, which need not be there to build for."""
    return Device("cpu", "any", "any", count, 1 << 34, features=FEATURES["avx512"])


@pytest.mark.parametrize("name", KERNELS)
def test_only_devices_of_several_cores_have_threads(name: str) -> None:
    kernel = KERNELS[name]
    for workload in kernel.workloads.values():
        one, four = (kernel.search_space(workload, cores(count)) for count in (1, 4))
        names = [parameter.name for parameter in four.parameters]
        assert [parameter.name for parameter in one.parameters] == names[:-2]
        assert names[-2:] == ["THREADS", "SCHEDULE"]
        assert four.parameters[-2].values == (1, 2, 3, 4)
        assert four.default == Config({**one.default, "THREADS": 4, "SCHEDULE": "static"})
        # One thread has no schedule to choose.
        assert four.size == one.size * (1 + 3 * 2)


@needs_two_cores
@pytest.mark.parametrize(("name", "fields"), SHAPES)
def test_kernels_are_correct_with_threads(name: str, fields: dict[str, Scalar]) -> None:
    kernel, device = KERNELS[name], detect("cpu:2")
    workload = kernel.workload(fields)
    space = kernel.search_space(workload, device)
    some = [space.default, *space.sample(np.random.default_rng(len(repr(fields))), 1)]
    configs = [Config({**config, "THREADS": 2, "SCHEDULE": schedule}) for config in some for schedule in SCHEDULES]
    builds = build_all(kernel, configs, workload, device)
    for build, measurement in zip(builds, kernel.measure(builds, workload, Sampling(7, 3)), strict=True):
        assert measurement.status is Status.CORRECT, f"{build.config}: {measurement.error}"


def test_one_thread_is_compiled_without_openmp(tmp_path: Path) -> None:
    kernel = counter(tmp_path, "#ifdef _OPENMP\n#error compiled with OpenMP\n#endif")
    workload = Workload(N=8)
    assert kernel.build(Config(THREADS=1, SCHEDULE="static"), workload, cores(2)).payload
    assert kernel.build(Config(), workload, cores(1)).payload


# Counts each call of the loop's body, and a hundred times the thread that made it.
COUNTER = """\
#include "parallel.hpp"
PROLOGUE
#if THREADS > 1
#include <omp.h>
static int thread() { return omp_get_thread_num(); }
#else
static int thread() { return 0; }
#endif
extern "C" void kernel(const float *x, float *out) {
  for (int i = 0; i < N; ++i) out[i] = x[i];
  parallel(N, [=](long i) { out[i] += 1 + 100 * thread(); });
}
"""

OPERATOR = Operator(
    name="counter",
    fields=(),
    inputs=lambda workload, _: {"x": np.zeros(workload.integer("N"), dtype=np.float32)},
    outputs=lambda workload: {"out": Output((workload.integer("N"),))},
    reference=lambda _, inputs: {"out": inputs["x"] + 1.0},
    work=lambda _: Work(1, 1),
)


def counter(folder: Path, prologue: str = "") -> CppKernel:
    source = folder / "counter.cpp"
    source.write_text(COUNTER.replace("PROLOGUE", prologue))
    return CppKernel(OPERATOR, source, lambda _, device: SearchSpace(thread_parameters(device)))


def counts(kernel: CppKernel, config: Config, size: int) -> np.ndarray:
    """Return what one call of the counter gives."""
    workload = Workload(N=size)
    launcher = kernel.load(kernel.build(config, workload, cores(3)))
    arguments = Arguments({"x": np.zeros(size, dtype=np.float32)}, {"out": ((size,), "float32")})
    launcher.call(arguments)
    return arguments.outputs["out"]


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("size", [1, 5, 24, 100])
def test_each_thread_has_an_equal_part_in_a_row(threads: int, size: int, tmp_path: Path) -> None:
    found = counts(counter(tmp_path), Config(THREADS=threads, SCHEDULE="static"), size)
    assert list(found % 100) == [1] * size
    who = (found // 100).astype(int).tolist()
    assert who == sorted(who)
    shares = [who.count(thread) for thread in range(threads)]
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("size", [1, 5, 24, 100])
def test_each_number_comes_once_when_threads_take_turns(size: int, tmp_path: Path) -> None:
    found = counts(counter(tmp_path), Config(THREADS=3, SCHEDULE="dynamic"), size)
    assert list(found % 100) == [1] * size


# A kernel whose second thread does what the macro FAULT says.
FAULTY_MODULE = """\
from pathlib import Path
from tests.kernels.test_threads import OPERATOR
from tuner.kernels.base import Field
from tuner.kernels.toolchains.cpp import CppKernel
from tuner.search_spaces import Parameter, SearchSpace
import dataclasses
KERNEL = CppKernel(
    dataclasses.replace(OPERATOR, fields=(Field("N"),)),
    Path(__file__).with_name("faulty.cpp"),
    SearchSpace([Parameter("THREADS", (2,)), Parameter("SCHEDULE", ("static",)), Parameter("FAULT", (0, 1, 2))]),
)
"""
FAULTY_SOURCE = """\
#include "parallel.hpp"
extern "C" void kernel(const float *x, float *out) {
  parallel(N, [=](long i) {
    if (FAULT == 1 && i == N - 1) *(volatile int *)8 = 1;
    while (FAULT == 2 && i == N - 1) asm volatile("");
    out[i] = x[i] + 1;
  });
}
"""


@pytest.fixture
def faulty(tmp_path: Path) -> Task:
    (tmp_path / "faulty.cpp").write_text(FAULTY_SOURCE)
    file = tmp_path / "faulty.py"
    file.write_text(FAULTY_MODULE)
    kernel = load(f"{file}:KERNEL")
    return make_task(f"{file}:KERNEL", kernel, kernel.workload({"N": 4096}), detect("cpu:2"))


def config(fault: int) -> Config:
    return Config(THREADS=2, SCHEDULE="static", FAULT=fault)


@needs_two_cores
@pytest.mark.slow
@pytest.mark.parametrize(("fault", "status"), [(1, Status.RUNTIME), (2, Status.TIMEOUT)], ids=["crash", "hang"])
def test_a_thread_that_fails_is_a_status(fault: int, status: Status, faulty: Task, tmp_path: Path) -> None:
    runner = LocalRunner(cache=tmp_path / "cache", timeouts=Timeouts(measure_seconds=6))
    assert runner.submit(faulty, config(fault), Sampling(0, 3)).result(timeout=120).status is status
    # The next one finds a worker that is whole.
    assert runner.submit(faulty, config(0), Sampling(0, 3)).result(timeout=120).status is Status.CORRECT
    runner.close()


@needs_two_cores
def test_no_thread_spins_on_after_a_measurement(faulty: Task, tmp_path: Path) -> None:
    before = children_of(os.getpid())
    runner = LocalRunner(cache=tmp_path / "cache")
    assert runner.submit(faulty, config(0), Sampling(0, 3)).result(timeout=120).status is Status.CORRECT
    workers = children_of(os.getpid()) - before
    # A million pauses take some tens of milliseconds at most.
    time.sleep(0.5)
    used = ticks(workers)
    time.sleep(0.5)
    # One that spins would have used some fifty.
    assert ticks(workers) - used < 10
    assert any(len(list(Path(f"/proc/{pid}/task").iterdir())) > 2 for pid in workers), "the threads are gone"
    runner.close()


def ticks(pids: set[int]) -> int:
    """Return the hundredths of a second of CPU time that processes have used."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
    return sum(int(user) + int(system) for *_, user, system in (row[:13] for row in fields))
