from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tuner import devices
from tuner.errors import TunerError
from tuner.types import Device


def test_this_cpu_has_what_search_spaces_read() -> None:
    device = devices.detect("cpu")
    for name in ("l1d_bytes", "l2_bytes", "l3_bytes", "vector_bytes", "vector_registers"):
        assert device.feature(name) > 0
    assert device.feature("l1d_bytes") < device.feature("l2_bytes") < device.feature("l3_bytes")
    assert device.memory_bytes > 2**28
    assert Device.from_json(json.loads(json.dumps(device.to_json()))) == device


def test_detecting_twice_gives_the_same_device() -> None:
    assert devices.detect("cpu").fingerprint == devices.detect("cpu").fingerprint


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(TunerError, match=r"'tpu'.*available: cpu"):
        devices.detect("tpu")


def test_a_device_has_as_many_cores_as_its_name_says() -> None:
    most = len(devices.available_cores())
    assert devices.detect("cpu:1") == devices.detect("cpu")
    assert devices.detect(f"cpu:{most}").count == most
    assert len({devices.detect(f"cpu:{count}").fingerprint for count in range(1, most + 1)}) == most


def test_more_cores_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available_cores", lambda: (0, 1))
    assert devices.detect("cpu:2").count == 2
    with pytest.raises(TunerError, match="cpu:3 is not there: this process may use 2 cores"):
        devices.detect("cpu:3")


@pytest.mark.parametrize("name", ["cpu:", "cpu:0", "cpu:-1", "cpu:two", "cpu: 2", "cpu:1_0", "cpu:2:2", "cpu:²"])
def test_a_name_that_is_no_device(name: str) -> None:
    with pytest.raises(TunerError, match="is not a device; write cpu for one core, or cpu:N for N cores"):
        devices.detect(name)


def test_a_feature_that_is_not_known() -> None:
    with pytest.raises(TunerError, match="does not know its warp_size"):
        devices.detect("cpu").feature("warp_size")


def test_a_system_that_tells_nothing_gets_safe_sizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devices, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(devices, "_CACHES", tmp_path / "none")
    device = devices.detect("cpu")
    assert device.feature("l2_bytes") == 512 << 10
    assert device.feature("vector_bytes") == 16


def test_cache_sizes_come_from_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    caches = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1M")]
    for index, (level, kind, size) in enumerate(caches):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    monkeypatch.setattr(devices, "_CACHES", tmp_path)
    assert devices.detect("cpu").feature("l1d_bytes") == 48 << 10
    assert devices.detect("cpu").feature("l2_bytes") == 1 << 20


def test_available_cores_are_those_of_this_process() -> None:
    assert devices.available_cores()
    if hasattr(os, "sched_getaffinity"):
        assert set(devices.available_cores()) == os.sched_getaffinity(0)
