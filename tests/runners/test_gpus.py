"""Devices that are GPUs: broken contexts, pruned programs, and several of them side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tuner.errors import PoisonedDeviceError, TunerError
from tuner.gpus import target_device
from tuner.runners import LocalRunner
from tuner.testing.toys import Parabola
from tuner.tunable import make_task
from tuner.types import Artifact, Build, Config, Device, Measurement, Sampling, Scalar, Status, Task, Workload


class Breaking(Parabola):
    """X = 3 breaks the context, X = 4 is not worth a device's time; others tell which process measured them."""

    device_kinds = ("cuda",)

    def build_key(self, config: Config, workload: Workload, device: Device) -> str:
        return config.key

    def build(self, config: Config, workload: Workload, device: Device) -> Artifact:
        return Artifact(config.key, b"", {"x": config.integer("X")})

    def refusal(self, artifact: Artifact, device: Device) -> str:
        return f"no room on {device.name}" if artifact.metadata["x"] == 4 else ""

    def measure(self, builds: Sequence[Build], workload: Workload, sampling: Sampling) -> list[Measurement]:
        if any(build.config["X"] == 3 for build in builds):
            raise PoisonedDeviceError("cuStreamSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS")
        time.sleep(0.2)
        return [Measurement(Status.CORRECT, {"seconds": (1.0,)}, resources=_seen()) for _ in builds]


def _seen() -> dict[str, Scalar]:
    """Return which process measures, and which GPUs it sees."""
    return {"pid": os.getpid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "all")}


BREAKING = Breaking()


def task() -> Task:
    return make_task(f"{Path(__file__)}:BREAKING", BREAKING, Workload(N=3), target_device("cuda:90"))


def measured(runner: LocalRunner, x: int) -> Measurement:
    return runner.submit(task(), Config(X=x, FAULT="none"), Sampling(0, 1)).result(timeout=120)


def test_the_process_is_replaced_after_a_program_broke_its_context(tmp_path: Path) -> None:
    runner = LocalRunner(cache=tmp_path)
    try:
        before, again = measured(runner, 1), measured(runner, 2)
        broken = measured(runner, 3)
        after = measured(runner, 5)
    finally:
        runner.close()
    assert before.resources["pid"] == again.resources["pid"]
    assert broken.status is Status.RUNTIME
    assert "ILLEGAL_ADDRESS" in broken.error
    assert after.status is Status.CORRECT
    assert after.resources["pid"] != before.resources["pid"]


def test_what_is_not_worth_the_device_s_time_never_reaches_it(tmp_path: Path) -> None:
    runner = LocalRunner(cache=tmp_path)
    try:
        pruned = measured(runner, 4)
        assert runner.activity.device_seconds == 0.0
    finally:
        runner.close()
    assert pruned.status is Status.CONSTRAINTS
    assert pruned.error == f"no room on {target_device('cuda:90').name}"


def measured_at_once(runner: LocalRunner) -> list[Measurement]:
    waiting = [runner.submit(task(), Config(X=x, FAULT="none"), Sampling(0, 1)) for x in (1, 2, 5, 6, 7, 8)]
    return [future.result(timeout=120) for future in waiting]


def test_several_gpus_share_the_trials_and_each_process_sees_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    runner = LocalRunner(cache=tmp_path, gpus=2)
    try:
        found = measured_at_once(runner)
    finally:
        runner.close()
    assert {one.resources["gpus"] for one in found} == {"4", "6"}
    assert len({one.resources["pid"] for one in found}) == 2
    assert runner.capacity == LocalRunner(cache=tmp_path).capacity + 3


def test_one_gpu_is_whichever_this_process_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    runner = LocalRunner(cache=tmp_path, gpus=1)
    try:
        assert {one.resources["gpus"] for one in measured_at_once(runner)} == {"5"}
    finally:
        runner.close()


def test_more_gpus_than_this_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    with pytest.raises(TunerError, match=r"2 GPUs are asked for, and CUDA_VISIBLE_DEVICES=5 shows 1"):
        LocalRunner(cache=tmp_path, gpus=2)
