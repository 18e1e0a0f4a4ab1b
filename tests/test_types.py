from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import TunerError
from tuner.testing.store import make_miss, make_task, make_winner
from tuner.types import (
    Artifact,
    Cache,
    Config,
    Device,
    Evidence,
    Measurement,
    MemoryLevel,
    Miss,
    Peaks,
    Scalar,
    Status,
    Task,
    Workload,
    canonical_json,
    digest,
    is_cold,
)

SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())


def device(**changes: object) -> Device:
    fields = {"kind": "cpu", "name": "A", "arch": "x86_64", "count": 1, "memory_bytes": 1, **changes}
    return Device.from_json(fields)


@given(st.dictionaries(st.text(), SCALARS))
def test_a_config_survives_json(values: dict[str, bool | int | float | str]) -> None:
    config = Config(values)
    assert Config(json.loads(config.json)) == config
    assert Config(json.loads(config.json)).key == config.key


def test_scalars_of_different_type_differ() -> None:
    assert len({Config(A=1), Config(A=True), Config(A=1.0), Config(A="1")}) == 4


def test_order_of_names_does_not_matter() -> None:
    assert Config({"A": 1, "B": 2}) == Config({"B": 2, "A": 1})
    assert hash(Config({"A": 1, "B": 2})) == hash(Config({"B": 2, "A": 1}))


def test_a_config_is_not_a_workload() -> None:
    assert Config(A=1) != Workload(A=1)


@pytest.mark.parametrize("value", [None, [1], float("nan"), float("inf")])
def test_values_json_cannot_carry_are_refused(value: object) -> None:
    with pytest.raises(TunerError, match="A="):
        Config({"A": value})  # type: ignore[dict-item]


def test_integer_refuses_a_bool() -> None:
    with pytest.raises(TunerError, match="A=True"):
        Config(A=True).integer("A")


def test_the_environment_does_not_enter_the_task_key() -> None:
    tasks = [Task("a:b", "1", Workload(M=1), device(environment={"compiler": c})) for c in ("12", "13")]
    assert tasks[0].key == tasks[1].key
    assert tasks[0].device.environment_fingerprint != tasks[1].device.environment_fingerprint


@pytest.mark.parametrize(
    "other",
    [
        Task("a:c", "1", Workload(M=1), device()),
        Task("a:b", "2", Workload(M=1), device()),
        Task("a:b", "1", Workload(M=2), device()),
        Task("a:b", "1", Workload(M=1), device(name="B")),
        Task("a:b", "1", Workload(M=1), device(features={"l2_bytes": 1})),
    ],
)
def test_everything_else_enters_the_task_key(other: Task) -> None:
    assert other.key != Task("a:b", "1", Workload(M=1), device()).key


def test_a_task_survives_json() -> None:
    task = Task("a:b", "1", Workload(M=1), device(features={"l2_bytes": 4}, environment={"x": "y"}))
    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task


def test_a_device_of_an_older_version_is_read() -> None:
    assert Device.from_json({**device().to_json(), "peak_flops": None, "peak_bytes_per_second": None}) == device()


def test_peaks_survive_json() -> None:
    levels = (MemoryLevel("L1", 2**15, 2**14, 4e11, "read"), MemoryLevel("memory", 2**34, 2**30, 1e10, "triad"))
    peaks = Peaks(1e11, levels, "2025-01-01T00:00:00+00:00", 0.5)
    assert Peaks.from_json(json.loads(json.dumps(peaks.to_json()))) == peaks


def test_a_measurement_survives_json() -> None:
    measurement = Measurement(Status.CORRECT, {"seconds": (1.0, 2.0)}, 0.5, 0.25, {"code_bytes": 3}, "")
    assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement


def test_values_are_frozen() -> None:
    measurement = Measurement(Status.CORRECT, {"seconds": (1.0,)})
    with pytest.raises(TypeError):
        measurement.samples["seconds"] = (2.0,)  # type: ignore[index]
    with pytest.raises(TypeError):
        Config(A=1)["A"] = 2  # type: ignore[index]


def test_digest_is_stable() -> None:
    assert digest({"a": 1}) == "015abd7f5cc57a2d"
    assert Artifact("k", b"").metadata == {}


def test_a_workload_is_cold_when_it_says_so() -> None:
    assert is_cold(Workload(M=1, cache=Cache.COLD.value))
    assert not is_cold(Workload(M=1, cache="warm"))
    assert not is_cold(Workload(M=1))


def test_evidence_without_an_interval_is_plain_json() -> None:
    evidence = replace(make_winner(make_task()).evidence, interval=(0.0, math.inf))
    data = json.loads(canonical_json(evidence.to_json()))
    assert data["interval"] == [0.0, None]
    assert Evidence.from_json(data) == evidence


def test_a_miss_survives_json() -> None:
    miss = make_miss()
    assert Miss.from_json(json.loads(json.dumps(miss.to_json()))) == miss


def test_only_what_was_asked_for_enters_the_key_of_a_miss() -> None:
    assert make_miss(1, 9, source="nearest", minute=9, environment={}).key == make_miss().key
    for other in (make_miss(2), make_miss(tunable="b"), make_miss(count=1, features={})):
        assert other.key != make_miss().key


def test_a_miss_is_of_the_place_of_a_task_of_any_version() -> None:
    assert make_miss().key == make_task().place == make_task(version="2").place
    assert make_task().place != make_task(2).place


def test_evidence_of_an_older_or_a_newer_version_is_read() -> None:
    evidence = make_winner(make_task()).evidence
    data = evidence.to_json()
    for name in ("seeds", "edge_shapes", "source_hash", "origin", "estimate", "sign_p"):
        del data[name]
    assert Evidence.from_json({**data, "what_comes_next": 1}) == evidence


def test_evidence_tells_how_wrong_it_was_and_under_which_conditions() -> None:
    resources: dict[str, Scalar] = {
        "rel_error": 1e-6,
        "tolerance": "0.001 of the largest value",
        "clock_hz": 1.2e9,
        "registers": 32,
    }
    seeds, shapes = {"final": 7}, (Workload(M=3), Workload(M=5))
    evidence = replace(make_winner(make_task()).evidence, resources=resources, seeds=seeds, edge_shapes=shapes)
    assert (evidence.largest_error, evidence.tolerance) == (1e-6, "0.001 of the largest value")
    assert evidence.conditions == {"clock_hz": 1.2e9}
    assert Evidence.from_json(json.loads(json.dumps(evidence.to_json()))) == evidence
    bare = replace(evidence, resources={})
    assert (bare.largest_error, bare.tolerance, bare.conditions) == (None, None, {})


def test_told_evidence_needs_an_origin() -> None:
    with pytest.raises(TunerError, match="origin"):
        Evidence.told("", Config(), measured_at="")
    told = Evidence.told("a.csv", Config(), measured_at="", default_seconds=3.0, config_seconds=2.0)
    assert told.speedup == 1.5


@pytest.mark.parametrize("count", [0, -1, True, 1.5])
def test_a_miss_that_was_not_asked_for_is_refused(count: Any) -> None:
    with pytest.raises(TunerError, match="count"):
        replace(make_miss(), count=count)
