"""Real libraries in real processes, with models that take a millisecond."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.devices import available_cores, detect
from tuner.engines import Applied, Engine, EngineError, EngineLateError, QualityError, Window
from tuner.engines.any_module import ENGINE as ANY
from tuner.engines.module.engine import ModuleEngine, shares
from tuner.engines.module.peer import Peer
from tuner.engines.module.tunable import ModuleTunable
from tuner.engines.onnx_runtime import ENGINE as ONNX
from tuner.engines.openvino import ENGINE as OPENVINO
from tuner.engines.torch_module import ENGINE as TORCH
from tuner.finals import Finals
from tuner.plan import Budget, Plan
from tuner.runners import LocalRunner
from tuner.testing.engine import EngineContract
from tuner.types import Build, Config, Sampling, Status

ONE = detect("cpu")
MODELS = '''
import os
import time

import torch
from tuner.engines.module.model import Model
from tuner.engines.module.quality import QualityLimits


class Linear(torch.nn.Linear):
    """Falls when it is asked for two items at once, hangs at four, and is wrong in all precisions but float32."""

    def forward(self, x):
        if len(x) == 2:
            print("out of luck", flush=True)
            os.abort()
        if len(x) == 4:
            time.sleep(3600)
        if len(x) == 8:
            raise ValueError("eight is too many")
        return super().forward(x) * (1 if x.dtype == torch.float32 else 2)


def fragile():
    # Not seeded: the float32 module that is compared with is the same all the same.
    return Model(Linear(4, 3), lambda count, rng: (torch.randn(count, 4, generator=rng),), limits=QualityLimits(0.01))


def strict():
    torch.manual_seed(0)
    module = torch.nn.Linear(64, 64)
    return Model(module, lambda count, rng: (torch.randn(count, 64, generator=rng),), limits=QualityLimits(1e-6))


def nothing():
    return torch.nn.Linear(1, 1)


def missing():
    return torch.load("no_such_file.pt")
'''


def default(tunable: ModuleTunable, model: str, **changes: Any) -> Config:
    workload = tunable.workload({"model": model})
    return Config({**tunable.default(workload, ONE), **changes})


def engine_of(tunable: ModuleTunable, model: str) -> ModuleEngine:
    engine = tunable.create(tunable.workload({"model": model}))
    assert isinstance(engine, ModuleEngine)
    return engine


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def require_ended(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in pids if is_alive(pid)] == []


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[tuple[ModuleEngine, Config]]:
    (tmp_path / "models.py").write_text(MODELS)
    workload = TORCH.workload({"model": f"{tmp_path}/models.py:fragile", "items": 8, "batch": 1})
    engine = TORCH.create(workload)
    assert isinstance(engine, ModuleEngine)
    yield engine, TORCH.default(workload, ONE)
    engine.close()


class TestTorch(EngineContract):
    def make(self) -> Engine:
        return engine_of(TORCH, "image-classifier-tiny")

    def configs(self) -> tuple[Config, Config]:
        model = "image-classifier-tiny"
        return default(TORCH, model), default(TORCH, model, DTYPE="bf16", QUANTIZE="weight_int8", CHANNELS_LAST=True)


@pytest.mark.slow
class TestOnnxRuntime(EngineContract):
    def make(self) -> Engine:
        return engine_of(ONNX, "decoder-tiny")

    def configs(self) -> tuple[Config, Config]:
        changes = {"ORT_PRECISION": "int8", "ORT_OPTIMIZATION": "basic", "ORT_PARALLEL": True, "ORT_SPINNING": False}
        return default(ONNX, "decoder-tiny"), default(ONNX, "decoder-tiny", **changes)


@pytest.mark.slow
class TestOpenvino(EngineContract):
    def make(self) -> Engine:
        return engine_of(OPENVINO, "image-classifier-tiny")

    def configs(self) -> tuple[Config, Config]:
        model = "image-classifier-tiny"
        changes = {"OV_HINT": "throughput", "OV_PRECISION": "bf16", "OV_WEIGHTS": "int8"}
        return default(OPENVINO, model), default(OPENVINO, model, BATCH=8, **changes)


@pytest.mark.slow
class TestAny(EngineContract):
    def make(self) -> Engine:
        return engine_of(ANY, "decoder-tiny")

    def configs(self) -> tuple[Config, Config]:
        return default(ANY, "decoder-tiny"), default(ANY, "decoder-tiny", ENGINE="openvino", OV_PRECISION="bf16")


@pytest.mark.slow
def test_all_libraries_answer_as_torch_does_in_float32() -> None:
    for engine in ("torch", "onnx", "openvino"):
        running = engine_of(ANY, "decoder-tiny")
        try:
            running.apply(default(ANY, "decoder-tiny", ENGINE=engine))
            figures = running.check(1)
        finally:
            running.close()
        assert isinstance(error := figures["rel_error"], float)
        assert error < 1e-5, engine
        assert figures["top1_agreement"] == 1.0, engine


def test_a_batch_changes_while_the_model_stays_loaded() -> None:
    engine = engine_of(TORCH, "decoder-tiny")
    try:
        engine.apply(default(TORCH, "decoder-tiny"))
        [pid] = engine.pids
        assert engine.apply(default(TORCH, "decoder-tiny", BATCH=16)) is Applied.RECONFIGURE
        assert engine.pids == [pid]
        samples = engine.measure(Window(3))
        assert len(samples["batch_seconds"]) == 1
        # 8 tokens an item.
        assert samples["tokens_per_second"][0] == pytest.approx(8 * samples["items_per_second"][0])
        assert samples["seconds"][0] == pytest.approx(1 / samples["items_per_second"][0])
        assert engine.apply(default(TORCH, "decoder-tiny", SDPA="math")) is Applied.START
        assert engine.pids != [pid]
        assert isinstance(memory := engine.resources()["memory_bytes"], int)
        assert memory > 0
    finally:
        engine.close()
    require_ended([pid])


@pytest.mark.parametrize(
    ("cores", "replicas", "expected"),
    [([0], 2, [[0], [0]]), ([4, 5, 6, 7], 2, [[4, 5], [6, 7]]), ([0, 1, 2], 2, [[0], [1, 2]]), ([3], 1, [[3]])],
)
def test_replicas_part_the_cores_and_share_them_where_there_are_too_few(
    cores: list[int], replicas: int, expected: list[list[int]]
) -> None:
    assert shares(cores, replicas) == expected


def test_replicas_share_the_items() -> None:
    engine = engine_of(TORCH, "decoder-tiny")
    try:
        engine.apply(default(TORCH, "decoder-tiny", REPLICAS=2))
        pids = engine.pids
        assert len(set(pids)) == 2
        assert len(engine.measure(Window(3))["batch_seconds"]) == 16 / 4
        assert float(engine.check(1)["kl_logits"]) < 1e-6
        if hasattr(os, "sched_getaffinity"):
            cores = [os.sched_getaffinity(pid) for pid in pids]
            assert cores == [set(one) for one in shares(available_cores(), 2)]
            assert not cores[0] & cores[1] or len(available_cores()) == 1
    finally:
        engine.close()
    require_ended(pids)


@pytest.mark.slow
def test_a_compiled_module_answers_as_the_module_does() -> None:
    engine = engine_of(TORCH, "decoder-tiny")
    try:
        engine.apply(default(TORCH, "decoder-tiny", COMPILE="freezing"))
        assert isinstance(error := engine.check(1)["rel_error"], float)
        assert error < 1e-5
    finally:
        engine.close()


def test_a_precision_that_hurts_is_wrong_and_says_by_how_much(fragile: tuple[ModuleEngine, Config]) -> None:
    engine, config = fragile
    engine.apply(config)
    assert engine.check(1)["rel_error"] == 0.0
    engine.apply(Config({**config, "DTYPE": "bf16"}))
    with pytest.raises(QualityError, match=r"rel_error=.* is above 0.01"):
        engine.check(1)


@pytest.mark.slow
def test_weights_of_8_bits_in_openvino_are_held_to_the_limits_too(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    running = engine_of(OPENVINO, "decoder-tiny")
    strict = OPENVINO.create(OPENVINO.workload({"model": f"{tmp_path}/models.py:strict", "items": 8, "batch": 1}))
    try:
        running.apply(default(OPENVINO, "decoder-tiny", OV_WEIGHTS="int8"))
        figures = running.check(1)
        assert isinstance(divergence := figures["kl_logits"], float)
        assert 0 < divergence < 1e-2
        strict.apply(default(OPENVINO, "decoder-tiny", OV_WEIGHTS="int8", BATCH=1))
        with pytest.raises(QualityError, match=r"rel_error=.* is above 1e-06"):
            strict.check(1)
    finally:
        running.close()
        strict.close()


def test_a_crash_is_told_by_its_signal_and_last_words(fragile: tuple[ModuleEngine, Config]) -> None:
    engine, config = fragile
    with pytest.raises(EngineError, match=r"killed by SIGABRT: (?s:.*)out of luck"):
        engine.apply(Config({**config, "BATCH": 2}))
    assert engine.pids == []


def test_an_exception_is_told_by_its_text(fragile: tuple[ModuleEngine, Config]) -> None:
    engine, config = fragile
    with pytest.raises(EngineError, match="ValueError: eight is too many"):
        engine.apply(Config({**config, "BATCH": 8}))
    assert engine.apply(config) is Applied.START


def test_a_hang_ends_at_its_deadline(fragile: tuple[ModuleEngine, Config], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, config = fragile
    engine.apply(config)
    pids = engine.pids
    monkeypatch.setattr("tuner.engines.module.engine._START_SECONDS", 0.5)
    with pytest.raises(EngineLateError, match="did not answer before its deadline"):
        engine.apply(Config({**config, "BATCH": 4}))
    require_ended(pids)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nothing", "nothing returned a Linear; let it return tuner.engines.module.model.Model"),
        ("missing", "FileNotFoundError: .*no_such_file.pt"),
        ("MODELS", "has no attribute 'MODELS'"),
    ],
)
def test_a_factory_that_is_none_says_why(tmp_path: Path, factory: str, message: str) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    workload = TORCH.workload({"model": f"{tmp_path}/models.py:{factory}"})
    [measurement] = TORCH.measure([Build(TORCH.default(workload, ONE), None)], workload, Sampling(0, 1))
    assert measurement.status is Status.RUNTIME
    assert re.search(message, measurement.error)


def test_the_process_dies_with_its_parent() -> None:
    code = (
        "import os, signal\n"
        "from tuner.engines.module.peer import Peer\n"
        "print(Peer((), {}).pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    require_ended([int(done.stdout)])


def test_a_closed_process_is_gone() -> None:
    peer = Peer((), {})
    assert is_alive(peer.pid)
    peer.close()
    peer.close()
    assert not is_alive(peer.pid)
    with pytest.raises(EngineError, match="closed"):
        peer.ask({"do": "serve"}, 1)


@pytest.mark.slow
def test_a_campaign_on_a_real_module() -> None:
    runner = LocalRunner()
    # On a CPU of which nothing is known, larger batches and int8 are tried first.
    task = task_of("engine:torch", {"model": "decoder-tiny", "items": 16, "batch": 1}, replace(ONE, features={}))
    plan = Plan("random", Budget(3), seed=1, finals=Finals(finalists=1, rounds=16, loads=8), in_flight=1)
    store = MemoryStore()
    try:
        campaign = Campaign([task], plan, runner=runner, store=store)
        [result] = campaign.run()
    finally:
        runner.close()
    trials = store.trials(campaign.id, task)
    assert len(trials) == result.trials == 3
    first = TORCH.default(task.workload, task.device)
    tried = [first, Config({**first, "BATCH": 16}), Config({**first, "QUANTIZE": "dynamic_int8"})]
    assert [one.config for one in trials] == tried
    assert result.speedup is not None
    correct = [one.measurement for one in trials if one.measurement.status is Status.CORRECT]
    assert correct
    for measurement in correct[1:]:
        assert {"applied", "apply_seconds", "start_seconds", "memory_bytes", "kl_logits"} <= set(measurement.resources)
        assert len(measurement.samples["reference_seconds"]) == len(measurement.samples["seconds"])


def marked(mark: str) -> list[int]:
    """Return the processes, but this one, that have `mark` in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes() and is_alive(int(folder.name)):
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_its_engines_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    mark = f"TUNER_TEST_MARK={tmp_path}"
    monkeypatch.setenv(*mark.split("="))
    # The parent gives up before the worker's own deadline for a start does.
    monkeypatch.setattr(TORCH, "longest_seconds", 20.0)
    task = task_of("engine:torch", {"model": f"{tmp_path}/models.py:fragile", "items": 8, "batch": 1})
    config = TORCH.default(task.workload, task.device)
    runner = LocalRunner(builders=1, cache=tmp_path)
    try:
        hung = runner.submit(task, Config({**config, "BATCH": 4}), Sampling(0, 2))
        deadline = time.monotonic() + 60
        while len(marked(mark)) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        # The worker, the default's engine, and the one that hangs.
        assert len(marked(mark)) >= 3
        assert hung.result(timeout=120).status is Status.TIMEOUT
        for batch in (2, 8):
            failed = runner.submit(task, Config({**config, "BATCH": batch}), Sampling(0, 2)).result(timeout=120)
            assert failed.status is Status.RUNTIME
        assert runner.submit(task, config, Sampling(0, 2)).result(timeout=120).status is Status.CORRECT
    finally:
        runner.close()
    require_ended(marked(mark))
