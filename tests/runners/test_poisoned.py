"""A program that breaks the device's context costs its own trial and the process, nothing more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tuner.errors import PoisonedDeviceError
from tuner.gpus import target_device
from tuner.runners import LocalRunner
from tuner.testing.toys import Parabola
from tuner.tunable import make_task
from tuner.types import Artifact, Build, Config, Device, Measurement, Sampling, Status, Task, Workload


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
        return [Measurement(Status.CORRECT, {"seconds": (1.0,)}, resources={"pid": os.getpid()}) for _ in builds]


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
