from __future__ import annotations

import pytest

from tuner.devices import detect
from tuner.errors import TunerError
from tuner.gpus import GPUS, known_gpu, limits_of, target_device, target_of
from tuner.types import Device


@pytest.mark.parametrize("name", GPUS)
def test_a_model_is_a_device_with_all_limits(name: str) -> None:
    device = target_device(name)
    limits = limits_of(device)
    assert limits == GPUS[name].limits
    assert all(device.feature(limit) > 0 for limit in limits.features() if limit != "reserved_shared_bytes")
    assert limits.block_shared_bytes <= limits.multiprocessor_shared_bytes
    assert limits.block_threads <= limits.multiprocessor_threads
    assert known_gpu(device) is GPUS[name]
    assert Device.from_json(device.to_json()) == device


def test_a_target_stands_for_its_first_model() -> None:
    assert target_device("cuda:90").name == GPUS["h100"].name
    assert target_of(target_device("h200")) == "cuda:90"
    assert target_of(target_device("mi300x")) == "hip:gfx942"


@pytest.mark.parametrize("name", ["cuda:42", "cuda", "tpu", ""])
def test_an_unknown_target_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(TunerError, match=r"unknown target .*cuda:90.*h200"):
        target_device(name)


def test_a_cpu_has_no_limits_of_a_gpu() -> None:
    with pytest.raises(TunerError, match="multiprocessors"):
        limits_of(detect("cpu"))


@pytest.mark.parametrize(("name", "message"), [("hip", "--compile-only"), ("cuda:2", "one GPU")])
def test_a_gpu_that_cannot_be_measured_on(name: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        detect(name)
