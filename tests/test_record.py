from __future__ import annotations

import json
import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from tuner.campaign import task_of
from tuner.db.kernel_tuner import read_cache_file, read_recording
from tuner.errors import StoreError, TunerError
from tuner.record import Recording, RecordingProgress
from tuner.runners import ReplayRunner, Runner
from tuner.tunable import load
from tuner.types import Config, Measurement, Sampling, Status, Task

TASK = task_of("tuner.testing.toys:PARABOLA", {"N": 3})
SPACE = load(TASK.tunable).search_space(TASK.workload, TASK.device)
DEFAULT = load(TASK.tunable).default(TASK.workload, TASK.device)
MEASUREMENTS = {
    config: Measurement(Status.CORRECT, {"seconds": (1e-3 * (1 + (config.integer("X") - 3) ** 2),)}) for config in SPACE
}


class Spy(ReplayRunner):
    """Answers from a record, remembers what it was asked, and calls back first."""

    def __init__(
        self,
        measurements: dict[Config, Measurement] = MEASUREMENTS,
        before: Callable[[int], None] = lambda _: None,
        capacity: int = 3,
    ) -> None:
        super().__init__(measurements, capacity=capacity)
        self.asked: list[Config] = []
        self.seeds: list[int] = []
        self._before = before

    def submit(self, task: Task, config: Config, sampling: Sampling) -> Future[Measurement]:
        self._before(len(self.asked))
        self.asked.append(config)
        self.seeds.append(sampling.seed)
        return super().submit(task, config, sampling)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "parabola.json.gz"


def record(path: Path, runner: Runner, *, limit: int | None = None, seed: int = 0) -> RecordingProgress:
    return Recording(TASK, path, runner=runner, limit=limit, seed=seed).run()


def test_the_whole_space_the_default_first(path: Path) -> None:
    runner = Spy()
    assert record(path, runner) == RecordingProgress(16, 0, 16, {})
    assert runner.asked[0] == DEFAULT
    assert set(runner.asked) == set(SPACE)
    assert runner.asked != list(SPACE)
    assert len(set(runner.seeds)) == 16
    recorded = read_cache_file(path)
    assert recorded.task == TASK
    assert recorded.measurements[Config(X=5, FAULT="none")].samples["seconds"] == pytest.approx((5e-3,))


def test_some_of_it_by_the_seed(path: Path, tmp_path: Path) -> None:
    runners = [Spy(), Spy(), Spy()]
    for place, (runner, seed) in enumerate(zip(runners, (1, 1, 2), strict=True)):
        assert record(tmp_path / f"{place}.json", runner, limit=6, seed=seed).recorded == 6
    assert runners[0].asked == runners[1].asked
    assert set(runners[0].asked) != set(runners[2].asked)
    assert (tmp_path / "0.json").read_bytes() == (tmp_path / "1.json").read_bytes()


def test_a_limit_beyond_the_space(path: Path) -> None:
    assert record(path, Spy(), limit=100).total == 16


def test_what_was_stopped_goes_on_and_measures_nothing_twice(path: Path) -> None:
    recordings: list[Recording] = []
    first = Spy(before=lambda count: recordings[0].stop() if count == 4 else None, capacity=1)
    recordings.append(Recording(TASK, path, runner=first))
    assert recordings[0].run() == RecordingProgress(5, 0, 16, {})
    second = Spy()
    assert record(path, second) == RecordingProgress(16, 5, 16, {})
    assert not set(first.asked) & set(second.asked)
    assert not set(first.seeds) & set(second.seeds)
    assert len(read_cache_file(path).measurements) == 16
    assert [trial.number for trial in read_recording(path)[1]] == list(range(16))
    third = Spy()
    assert record(path, third) == RecordingProgress(16, 16, 16, {})
    assert not third.asked


def test_more_of_it_later(path: Path) -> None:
    record(path, Spy(), limit=4)
    assert record(path, Spy(), limit=9) == RecordingProgress(9, 4, 9, {})
    assert record(path, Spy(), limit=2) == RecordingProgress(9, 9, 9, {})


def test_what_was_measured_is_kept_when_the_machinery_breaks(path: Path) -> None:
    def break_(count: int) -> None:
        if count == 5:
            raise RuntimeError("the device is gone")

    with pytest.raises(RuntimeError, match="the device is gone"):
        record(path, Spy(before=break_, capacity=1))
    assert len(read_recording(path)[1]) == 5


def test_it_is_saved_while_it_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.record._SAVE_SECONDS", 0.0)
    monkeypatch.setattr("tuner.record._SAVE_SHARE", math.inf)
    seen: list[int] = []

    def look(count: int) -> None:
        if path.exists():
            seen.append(len(read_recording(path)[1]))

    record(path, Spy(before=look, capacity=1))
    assert seen == list(range(1, 16))


def test_failures_are_kept_by_status(path: Path) -> None:
    failing = dict(zip(list(SPACE)[5:], set(Status) - {Status.CORRECT}, strict=False))
    changed = {config: Measurement(status, error=f"why {status}") for config, status in failing.items()}
    end = record(path, Spy({**MEASUREMENTS, **changed}))
    assert end.failures == dict.fromkeys(failing.values(), 1)
    for _ in range(2):
        found = read_cache_file(path).measurements
        assert {config: found[config].status for config in failing} == failing
        assert all(found[config].error == f"why {status}" for config, status in failing.items())
        raw = {trial.config: trial.measurement for trial in read_recording(path)[1]}
        assert {config: raw[config].status for config in failing} == failing
        assert record(path, Spy()).failures == end.failures


def test_times_are_relative_to_the_default_of_the_same_rounds(path: Path) -> None:
    """The machine was three times slower during some trials: the recorded times do not show it."""
    slowed = {}
    for place, (config, measurement) in enumerate(MEASUREMENTS.items()):
        factor = 3.0 if place % 3 == 0 else 1.0
        seconds = factor * measurement.samples["seconds"][0]
        slowed[config] = Measurement(
            Status.CORRECT, {"seconds": (seconds,) * 3, "reference_seconds": (factor * 10e-3,) * 3}
        )
    record(path, Spy(slowed))
    found = read_cache_file(path).measurements
    for config, measurement in MEASUREMENTS.items():
        assert found[config].samples["seconds"] == pytest.approx(measurement.samples["seconds"])
    raw = {trial.config: trial.measurement for trial in read_recording(path)[1]}
    for config, measurement in slowed.items():
        for metric, samples in measurement.samples.items():
            assert raw[config].samples[metric] == pytest.approx(samples)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workload": task_of("tuner.testing.toys:PARABOLA", {"N": 4}).workload}, 'another workload {"N":3}'),
        ({"version": "0"}, "another version of the kernel"),
        ({"device": replace(TASK.device, name="another")}, "another device"),
        ({"device": replace(TASK.device, environment={"compiler": "new"})}, "another compiler"),
    ],
)
def test_a_file_of_another_task(path: Path, change: dict[str, object], message: str) -> None:
    record(path, Spy(), limit=2)
    with pytest.raises(StoreError, match=message):
        Recording(replace(TASK, **change), path, runner=Spy())  # type: ignore[arg-type]


def test_a_file_of_others(path: Path) -> None:
    record(path.with_suffix(""), Spy(), limit=2)
    data = json.loads(path.with_suffix("").read_text())
    del data["task"]
    path.with_suffix("").write_text(json.dumps(data))
    with pytest.raises(StoreError, match="not recorded by tuner"):
        Recording(TASK, path.with_suffix(""), runner=Spy())


def test_a_folder_that_is_not_there_is_found_before_measuring(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no folder"):
        Recording(TASK, tmp_path / "none" / "x.json", runner=Spy())


def test_a_limit_of_nothing(path: Path) -> None:
    with pytest.raises(TunerError, match="limit=0"):
        Recording(TASK, path, runner=Spy(), limit=0)


@pytest.mark.filterwarnings("ignore:None of the tunable parameters specify thread block dimensions")
def test_kernel_tuner_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_tuner = pytest.importorskip("kernel_tuner", reason="pip install 'rltuner[bench]'")
    path = tmp_path / "parabola.json"
    failed = {Config(X=0, FAULT="none"): Measurement(Status.CORRECTNESS, error="wrong")}
    record(path, Spy({**MEASUREMENTS, **failed}))
    monkeypatch.chdir(tmp_path)
    results, environment = kernel_tuner.tune_cache(
        str(path), strategy="random_sample", strategy_options={"max_fevals": 16}, quiet=True
    )
    assert environment["best_config"]["X"] == 3
    assert environment["best_config"]["time"] == pytest.approx(1.0)
    assert len(results) == 15
