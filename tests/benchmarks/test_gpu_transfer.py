"""Trials of another model of GPU as a prior, and vLLM's configs: what of it needs no GPU."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("triton") is None or find_spec("torch") is None:
    pytest.skip("needs Triton and torch", allow_module_level=True)

from benchmarks.gpu import transfer as module
from benchmarks.gpu.step import Run
from benchmarks.gpu.transfer import sources_of, transfer
from benchmarks.gpu.vllm import recorded, vllm_default
from tuner.errors import TunerError
from tuner.gpus import target_device
from tuner.kernels.fused_moe.triton import KERNEL as FUSED_MOE
from tuner.runners import Activity
from tuner.types import Config, Device, Measurement, Sampling, Status, Task

RESULTS = Path(__file__).parents[2] / "benchmarks/results/gpu_h200"


class Answering:
    """A runner on which a config is the slower the more parts K is cut into."""

    capacity = 1
    activity = Activity()

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        future: Future[Measurement] = Future()
        seconds = 1.0 + float(config.get("PARTS", 0)) + float(config.get("SPLIT_K", 0))
        future.set_result(Measurement(Status.CORRECT, {"seconds": (seconds,), "reference_seconds": (4.0,)}))
        return future

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        raise NotImplementedError

    def close(self) -> None:
        pass


def test_trials_of_a_run_on_another_model_are_sources_with_their_ratios() -> None:
    sources = sources_of(RESULTS, target_device("h100"))
    assert {source.task.device.name for source in sources} == {"NVIDIA H200"}
    assert len(sources) > 15
    ratios = [
        samples["seconds"][0] / samples["reference_seconds"][0]
        for source in sources
        for trial in source.trials
        if (samples := trial.measurement.samples)
    ]
    assert min(ratios) < 0.9 < 1.1 < max(ratios)


def test_a_prior_of_the_same_model_is_refused() -> None:
    with pytest.raises(TunerError, match="prior is of a NVIDIA H200, which is this model"):
        sources_of(RESULTS, target_device("h200"))


def test_searches_with_and_without_a_prior_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = target_device("h100")
    monkeypatch.setattr(module, "detect", lambda _: device)
    monkeypatch.setattr("benchmarks.gpu.step.detect", lambda _: device)
    monkeypatch.setattr(Run, "runner", lambda _: Answering())
    monkeypatch.setattr(module, "_TASKS", module._TASKS[3:4])
    found = transfer(Run(tmp_path, 60.0, quick=True, prior=RESULTS))
    [row] = found["tasks"]
    assert found["prior_gpu"] == "NVIDIA H200"
    assert len(row["reached"]["with"]) == len(row["reached"]["without"]) == 1
    assert set(row["scores"]) == {"with, seed 0", "without, seed 0"}
    assert row["best"] == min(min(scores) for scores in row["scores"].values())


def test_without_a_prior_there_is_nothing_to_transfer(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match="give --prior"):
        transfer(Run(tmp_path, 60.0))


@pytest.mark.parametrize(("model", "there"), [("h200", True), ("h100", False)])
def test_vllms_file_is_found_by_the_device(model: str, there: bool) -> None:
    device: Device = target_device(model)
    found = recorded(FUSED_MOE.workloads["qwen3-30b-a3b-up-128"], device)
    assert (found is not None) is there
    assert found is None or found["BLOCK_SIZE_N"] == 128


def test_vllms_configs_run_in_our_kernel() -> None:
    workload = FUSED_MOE.workloads["mixtral-8x7b-tp8-up-2k"]
    device = target_device("h100")
    for config in (vllm_default(workload), recorded(workload, device)):
        assert config is not None
        assert FUSED_MOE.refusal(FUSED_MOE.build(config, workload, device), device) == ""
