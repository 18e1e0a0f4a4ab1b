"""The bench without a GPU: torch on a CPU, a driver that only remembers, and programs that torch computes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import torch

from tuner.errors import TunerError
from tuner.gpus import target_device
from tuner.kernels.clock import Elapsed
from tuner.kernels.gpu import bench
from tuner.kernels.gpu.bench import Bench, Job
from tuner.kernels.gpu.binary import Binary, Resources
from tuner.kernels.gpu.memory import Memory
from tuner.kernels.gpu.nvml import GpuConditions
from tuner.kernels.gpu.operator import TensorOperator
from tuner.kernels.gpu.tensor import Tensor
from tuner.kernels.problem import Field
from tuner.types import Artifact, Build, Config, Evidence, GraphMode, Sampling, Status, Work

OPERATOR = TensorOperator(
    name="double",
    fields=(Field("N"),),
    inputs=lambda w: {"x": Tensor((w.integer("N"),))},
    outputs=lambda w: {"out": Tensor((w.integer("N"),))},
    reference=lambda w, tensors: {"out": 2 * tensors["x"].double()},
    work=lambda w: Work(flops=w.integer("N"), bytes=8 * w.integer("N")),
)
SECONDS = {"fast": 1e-4, "slow": 4e-4, "wrong": 1e-5}


class FakeLauncher:
    """Computes by torch, and takes the time that its entry says."""

    made: ClassVar[list[FakeLauncher]] = []

    def __init__(self, _: object, job: Job, __: object, flush: Any) -> None:
        self.flushed = flush.numel()
        self.graph_calls = 0
        self.evicted = False
        self.entry = job.binaries[0].entry
        self.copies: set[int] = set()
        self.closed = False
        self.made.append(self)

    def run(self, memory: Memory) -> None:
        memory.outputs["out"].copy_(memory.inputs["x"] * (3 if self.entry == "wrong" else 2))

    def call(self, arguments: Sequence[Memory]) -> None:
        self.run(arguments[0])

    def time(self, arguments: Sequence[Memory], calls: int) -> Elapsed:
        self.copies.add(len(arguments))
        self.graph_calls = max(self.graph_calls, calls)
        return Elapsed(SECONDS[self.entry] * calls)

    def evict(self, arguments: Sequence[Memory]) -> None:
        self.evicted = True

    def joules(self, *_: object) -> float:
        return 0.5

    def close(self) -> None:
        self.closed = True


class FakeDriver:
    closed = False
    graph_mode = GraphMode.INSIDE

    def close(self) -> None:
        FakeDriver.closed = True


@pytest.fixture(autouse=True)
def _no_gpu_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.device
    monkeypatch.setattr(bench, "detect_gpu", lambda _: target_device("h100"))
    monkeypatch.setattr(bench, "Driver", FakeDriver)
    monkeypatch.setattr(bench, "GpuLauncher", FakeLauncher)
    monkeypatch.setattr(GpuConditions, "__init__", lambda self: self.__dict__.update(_api=None, _device=None))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch, "device", lambda *_: real("cpu"))
    FakeLauncher.made = []
    FakeDriver.closed = False


def job(entry: str, target: str = "cuda:90") -> Job:
    return Job([Binary(entry, target, b"", (), Resources(128, 32, 0))], [(1,)], [{}], {})


def measured(*entries: str, fields: dict[str, Any] | None = None, **sampling: Any) -> list[Any]:
    workload = OPERATOR.workload({"N": 1 << 20, **(fields or {})})
    builds = [Build(Config(entry=entry), Artifact(entry, b"", {"registers": 32})) for entry in entries]
    return Bench(OPERATOR, workload, Sampling(0, 20, **sampling)).measure(builds, [job(entry) for entry in entries])


def test_builds_are_timed_beside_the_first() -> None:
    slow, fast = measured("slow", "fast")
    assert slow.status is fast.status is Status.CORRECT
    assert fast.samples["seconds"] == pytest.approx([1e-4] * len(fast.samples["seconds"]))
    assert fast.samples["reference_seconds"] == pytest.approx([4e-4] * len(fast.samples["seconds"]))
    assert fast.resources["registers"] == 32
    assert FakeDriver.closed


def test_tensors_rotate_over_more_than_twice_the_cache() -> None:
    [found] = measured("fast")
    size = 2 * 4 * (1 << 20)
    assert found.resources["copies"] * size > 2 * target_device("h100").feature("l2_bytes")
    assert found.resources["cache"] == "rotated"
    assert FakeLauncher.made[0].copies == {found.resources["copies"]}


@pytest.mark.parametrize("cache", ["warm", "cold"])
def test_warm_and_cold_calls_use_one_copy(cache: str) -> None:
    [found] = measured("fast", fields={"cache": cache})
    assert found.resources["copies"] == 1
    assert found.resources["cache"] == cache


@pytest.mark.parametrize("cache", [None, "warm", "cold"])
def test_evidence_tells_of_graphs_and_of_what_was_flushed(cache: str | None) -> None:
    _, found = measured("slow", "fast", fields={"cache": cache} if cache else {})
    launcher = FakeLauncher.made[1]
    assert found.resources["graph"] == "events inside"
    assert found.resources["graph_calls"] == launcher.graph_calls > 0
    assert launcher.graph_calls > 1 or cache == "cold"
    flushed = found.resources["flushed_bytes"]
    assert flushed == (launcher.flushed if launcher.evicted else 0)
    assert (flushed > target_device("h100").feature("l2_bytes")) is (cache == "cold")
    evidence = Evidence.told("here", Config(), measured_at="", resources=found.resources)
    assert {"graph", "graph_calls", "flushed_bytes", "cache", "copies"} <= set(evidence.conditions)


def test_a_wrong_build_is_not_timed_and_the_others_are() -> None:
    fast, wrong, slow = measured("fast", "wrong", "slow")
    assert fast.status is slow.status is Status.CORRECT
    assert wrong.status is Status.CORRECTNESS
    assert not wrong.samples
    assert slow.samples["seconds"]


def test_each_load_lays_everything_out_anew_and_gives_it_back() -> None:
    slow, fast = measured("slow", "fast", loads=4)
    assert set(fast.samples["load"]) == {0.0, 1.0, 2.0, 3.0}
    assert len(FakeLauncher.made) == 8
    assert all(launcher.closed for launcher in FakeLauncher.made)
    assert len(slow.samples["seconds"]) == len(slow.samples["load"])


def test_a_program_for_another_architecture_is_refused() -> None:
    workload = OPERATOR.workload({"N": 1000})
    build = Build(Config(), Artifact("a", b"", {}))
    with pytest.raises(TunerError, match="fast was compiled for cuda:80, and this device is cuda:90"):
        Bench(OPERATOR, workload, Sampling(0, 5)).measure([build], [job("fast", "cuda:80")])
