from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from tuner.devices import detect
from tuner.engines import Route
from tuner.engines.any_module import ENGINE as ANY
from tuner.engines.module.tunable import ModuleTunable
from tuner.engines.onnx_runtime import ENGINE as ONNX
from tuner.engines.openvino import ENGINE as OPENVINO
from tuner.engines.torch_module import ENGINE as TORCH
from tuner.errors import WorkloadError
from tuner.tunable import load
from tuner.types import Config, Device

ONE = detect("cpu")
FOUR = replace(ONE, count=4)
GPU = Device("cuda", "a GPU", "sm_90", 1, 80 << 30)
ALL = [TORCH, ONNX, OPENVINO, ANY]
MINE = """
import torch
from tuner.engines.module.model import Model

def small():
    return Model(torch.nn.Linear(4, 2), lambda count, rng: (torch.randn(count, 4, generator=rng),))
"""


def names(tunable: ModuleTunable, model: str, device: Device) -> set[str]:
    return {one.name for one in tunable.parameters(tunable.workload({"model": model}), device)}


@pytest.mark.parametrize("tunable", ALL, ids=lambda one: one.name)
def test_it_is_installed(tunable: ModuleTunable) -> None:
    assert load(f"engine:{tunable.name}") is tunable


@pytest.mark.parametrize("device", [ONE, FOUR], ids=["one core", "four cores"])
@pytest.mark.parametrize("tunable", ALL, ids=lambda one: one.name)
def test_the_default_is_a_valid_config_that_uses_all_cores(tunable: ModuleTunable, device: Device) -> None:
    for workload in tunable.workloads.values():
        default = tunable.default(workload, device)
        space = tunable.search_space(workload, device)
        assert space.violated(default) is None
        assert default["THREADS"] == device.count
        assert default["BATCH"] == workload["batch"]
        assert tunable.work(workload).flops > 0
        assert tunable.workload(workload) == workload


def test_torch_is_by_default_eager_float32() -> None:
    default = TORCH.default(TORCH.workloads["decoder-30m"], ONE)
    assert (default["DTYPE"], default["QUANTIZE"], default["COMPILE"]) == ("fp32", "none", "off")


def test_the_space_has_what_matters_to_the_model() -> None:
    assert "CHANNELS_LAST" not in names(TORCH, "decoder-30m", ONE)
    assert "SDPA" not in names(TORCH, "image-classifier", ONE)


def test_what_only_a_gpu_has_is_not_in_the_space_of_a_cpu() -> None:
    assert {"CUDA_GRAPHS", "DEVICE"} <= names(TORCH, "decoder-30m", GPU)
    assert not {"CUDA_GRAPHS", "DEVICE"} & names(TORCH, "decoder-30m", FOUR)
    assert not {"THREADS", "REPLICAS"} & names(TORCH, "decoder-30m", GPU)
    workload = TORCH.workloads["decoder-30m"]
    assert TORCH.search_space(workload, GPU).violated(TORCH.default(workload, GPU)) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"REPLICAS": 2}, "the replicas' threads share the cores"),
        ({"REPLICAS": 4, "THREADS": 1, "BATCH": 8}, "replicas serve whole batches"),
        ({"QUANTIZE": "dynamic_int8", "DTYPE": "bf16"}, "dynamic int8 takes float32"),
        ({"QUANTIZE": "dynamic_int8", "COMPILE": "default"}, "dynamic int8 takes float32 and is not compiled"),
    ],
)
def test_what_does_not_go_together_is_not_in_the_space(change: dict[str, int | str], reason: str) -> None:
    workload = TORCH.workloads["decoder-30m"]
    broken = TORCH.search_space(workload, FOUR).violated(Config({**TORCH.default(workload, FOUR), **change}))
    assert broken is not None
    assert reason in broken


def test_what_another_engine_has_is_inactive() -> None:
    workload = ANY.workloads["decoder-30m"]
    space = ANY.search_space(workload, ONE)
    default = space.default
    assert default["ENGINE"] == "torch"
    assert {config["ENGINE"] for config in space} == {"torch", "onnx", "openvino"}
    assert space.violated(Config({**default, "OV_PRECISION": "bf16"})) is not None
    assert space.violated(Config({**default, "OV_PRECISION": "bf16", "ENGINE": "openvino"})) is None
    assert space.size < TORCH.search_space(workload, ONE).size * 2


def test_a_batch_alone_changes_without_a_restart() -> None:
    parameters = ANY.parameters(ANY.workloads["decoder-30m"], FOUR)
    assert [one.name for one in parameters if not one.restarts] == ["BATCH"]
    assert {one.name for one in parameters if one.route is Route.VARIABLE} == {"THREADS"}


def test_a_file_s_factory_enters_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    workload = TORCH.workload({"model": "mine.py:small", "items": 8, "batch": 4})
    assert workload["model"] == f"{tmp_path}/mine.py:small"
    (tmp_path / "mine.py").write_text(MINE + "# changed\n")
    with pytest.raises(WorkloadError, match="is not what it was"):
        TORCH.workload(workload)
    assert TORCH.workload({"model": "mine.py:small", "items": 8, "batch": 4}) != workload


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "needs the workload field 'model'"),
        ({"model": "decoder-70b"}, "choose one of decoder-30m, image-classifier"),
        ({"model": "no_such_file.py:model"}, "there is no .*no_such_file.py"),
        ({"model": "no.such.module:model"}, "there is no no.such.module"),
        ({"model": "decoder-30m", "batch": 3}, "items=16 is not a multiple of batch=3"),
        ({"model": "decoder-30m", "items": 0}, "items=0 is not a positive integer"),
        ({"model": "decoder-30m", "rate": 3}, "has no workload field 'rate'"),
    ],
)
def test_a_workload_that_is_none_is_refused(fields: dict[str, int | str], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        TORCH.workload(fields)


def test_weights_of_8_bits_are_left_out_with_a_word_where_their_package_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    workload = OPENVINO.workload({"model": "decoder-tiny"})
    assert OPENVINO.left_out(workload, ONE) == ()
    assert "nncf" in OPENVINO.environment()
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nncf" else there(name))
    [parameter] = [one for one in OPENVINO.parameters(workload, ONE) if one.name == "OV_WEIGHTS"]
    assert parameter.parameter.values == ("fp32",)
    assert OPENVINO.left_out(workload, ONE) == ["OV_WEIGHTS=int8 needs nncf; pip install 'rltuner[engines]'"]
    assert TORCH.left_out(workload, ONE) == ()
    assert "nncf" not in OPENVINO.environment()
