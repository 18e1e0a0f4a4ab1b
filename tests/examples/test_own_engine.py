from __future__ import annotations

from pathlib import Path

from tuner.devices import detect
from tuner.engines.torch_module import ENGINE
from tuner.types import Build, Config, Sampling, Status

PATH = Path(__file__).parents[2] / "examples" / "own_engine.py"


def test_its_module_is_served_and_judged() -> None:
    device = detect("cpu")
    workload = ENGINE.workload({"model": f"{PATH}:factory", "items": 32, "batch": 16})
    default = ENGINE.default(workload, device)
    builds = [Build(default, None), Build(Config({**default, "DTYPE": "bf16"}), None)]
    try:
        first, other = ENGINE.measure(builds, workload, Sampling(0, 2))
    finally:
        ENGINE.close()
    assert first.status is other.status is Status.CORRECT
    assert first.resources["rel_error"] == 0.0
    assert isinstance(error := other.resources["rel_error"], float)
    assert 0 < error <= 0.02


def test_it_is_as_short_as_it_claims() -> None:
    assert len(PATH.read_text().splitlines()) < 25
