"""The GPU run's engine step: its modes are in the space of a GPU, and what they did is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import engine as step
from benchmarks.gpu.step import Run
from benchmarks.gpu.summary import tables_of_step
from tuner.devices import detect
from tuner.engines.torch_module import ENGINE
from tuner.gpus import target_device
from tuner.types import Config


@pytest.mark.parametrize("fields", step.WORKLOADS, ids=lambda fields: fields["model"])
def test_every_mode_is_in_the_space_of_a_gpu(fields: dict[str, Any]) -> None:
    workload, device = ENGINE.workload(fields), target_device("h200")
    space = ENGINE.search_space(workload, device)
    for changes in step.MODES[workload.text("model")]:
        assert space.violated(Config({**space.default, **changes})) is None


def test_attention_of_16_bits_is_not_asked_for_in_float32() -> None:
    space = ENGINE.search_space(ENGINE.workloads["decoder-30m"], target_device("h200"))
    for backend in ("flash", "cudnn"):
        assert "16 bits" in (space.violated(Config({**space.default, "SDPA": backend})) or "")
        assert space.violated(Config({**space.default, "SDPA": backend, "DTYPE": "fp16"})) is None


@pytest.mark.slow
def test_the_step_tells_of_modes_that_fail_and_of_a_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "detect", lambda _: detect("cpu"))
    monkeypatch.setattr(step, "WORKLOADS", [{"model": "decoder-tiny"}])
    monkeypatch.setattr(step, "MODES", {"decoder-tiny": [{"SDPA": "math"}]})
    monkeypatch.setattr(step, "agent_here", lambda: "random")
    # With this seed the campaign's config is not compiled, which would take a minute.
    run = Run(tmp_path, seconds=300, seed=5, quick=True, cache=tmp_path / "cache")
    assert run.step("engine", step.engine, 1)
    found = json.loads((tmp_path / "engine.json").read_text())
    [model] = found["models"]
    [mode] = model["modes"]
    assert mode["mode"] == "SDPA=math"
    assert mode["status"] == "correct"
    assert mode["ratio"]["low"] <= mode["ratio"]["value"] <= mode["ratio"]["high"]
    assert model["campaign"]["trials"] == 2
    modes, campaigns = tables_of_step("engine", found)
    assert modes.rows[0][:3] == ["decoder-tiny", "SDPA=math", "correct"]
    assert campaigns.rows[0][0] == "decoder-tiny"
