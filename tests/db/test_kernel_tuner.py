from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tuner.db.kernel_tuner import read_cache_file, write_cache_file
from tuner.errors import StoreError
from tuner.types import Config, Device, Status, Task, Trial, Workload


def cache(**changes: Any) -> dict[str, Any]:
    """Return a small recorded space: 8 x 4 configs, the fastest at A=5, B=2; A=0 fails."""
    entries = {}
    for a in range(8):
        for b in range(4):
            time: float | str = 1.0 + abs(a - 5) + abs(b - 2) if a else "CompilationFailedConfig"
            entries[f"{a},{b}"] = {"A": a, "B": b, "time": time, "compile_time": 100.0, "benchmark_time": 50.0}
    return {
        "device_name": "Test GPU",
        "kernel_name": "toy",
        "tune_params_keys": ["A", "B"],
        "tune_params": {"A": list(range(8)), "B": list(range(4))},
        "cache": entries,
        **changes,
    }


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "toy_gpu.json.gz"
    path.write_bytes(gzip.compress(json.dumps(cache()).encode()))
    return path


def test_a_cache_file_is_read_with_its_failures(recorded: Path) -> None:
    space = read_cache_file(recorded)
    assert (space.name, space.kernel, space.device) == ("toy_gpu", "toy", "Test GPU")
    assert space.space.size == len(space.measurements) == 32
    assert space.optimum_seconds == pytest.approx(1e-3)
    best = space.measurements[Config(A=5, B=2)]
    assert best.samples["seconds"] == pytest.approx((1e-3,))
    assert (best.build_seconds, best.measure_seconds) == pytest.approx((0.1, 0.05))
    assert space.measurements[Config(A=0, B=0)].status is Status.COMPILE


@pytest.mark.parametrize("name", ["again.json", "again.json.gz"])
def test_what_is_written_is_read_back(recorded: Path, tmp_path: Path, name: str) -> None:
    first = read_cache_file(recorded)
    trials = [Trial(config, measurement, "c", i) for i, (config, measurement) in enumerate(first.measurements.items())]
    write_cache_file(tmp_path / name, first.task, first.space, trials)
    second = read_cache_file(tmp_path / name)
    assert second.space.fingerprint == first.space.fingerprint
    for config, measurement in first.measurements.items():
        again = second.measurements[config]
        assert again.status is measurement.status
        assert again.samples.get("seconds", ()) == pytest.approx(measurement.samples.get("seconds", ()))
        assert again.build_seconds == pytest.approx(measurement.build_seconds)


def test_a_recording_begins_with_the_default(recorded: Path, tmp_path: Path) -> None:
    first = read_cache_file(recorded)
    assert first.space.default == Config(A=0, B=0)
    configs = [Config(A=5, B=3), *(config for config in first.measurements if config != Config(A=5, B=3))]
    trials = [Trial(config, first.measurements[config], number=i) for i, config in enumerate(configs)]
    write_cache_file(tmp_path / "again.json", first.task, first.space, trials)
    assert read_cache_file(tmp_path / "again.json").space.default == Config(A=5, B=3)


def test_a_folder_that_is_not_there(recorded: Path, tmp_path: Path) -> None:
    first = read_cache_file(recorded)
    with pytest.raises(StoreError, match="cannot write"):
        write_cache_file(tmp_path / "a/b.json", first.task, first.space, [])


def test_a_file_that_is_still_being_written_is_read(tmp_path: Path) -> None:
    text = json.dumps(cache())
    path = tmp_path / "open.json"
    path.write_text(text.removesuffix("}}") + ",")
    assert read_cache_file(path).space.size == 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"[]", "holds a list, not an object"),
        (b"{}", "field 'tune_params_keys' is missing"),
        (b"\x1f\x8bbroken", "cannot read"),
        (json.dumps(cache(cache={})).encode(), "'cache' is empty"),
        (json.dumps(cache(cache={"1,1": {"A": 1}})).encode(), "entry '1,1' of 'cache'"),
        (json.dumps(cache(tune_params={"A": [1]})).encode(), "no values of 'B'"),
        (json.dumps(cache(tune_params={"A": [1], "B": [1]})).encode(), "A=0"),
        (json.dumps(cache(cache={"0,0": cache()["cache"]["0,0"]})).encode(), "every recorded config failed"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=message):
        read_cache_file(path)


def test_the_task_is_what_the_file_tells(tmp_path: Path) -> None:
    path = tmp_path / "toy_gpu.json"
    path.write_text(json.dumps(cache(problem_size=[64, 32])))
    device = Device(kind="", name="Test GPU", arch="", count=1, memory_bytes=0)
    assert read_cache_file(path).task == Task("toy", "", Workload(size_0=64, size_1=32), device)
    path.write_text(json.dumps(cache(device_name="", kernel_name="")))
    nameless = read_cache_file(path)
    assert (nameless.kernel, nameless.device, nameless.task.workload) == ("toy_gpu", "toy_gpu", Workload())
