from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.db.exchange.test_t1 import TASK, THEIRS
from tuner.db.exchange import Request, Search, Selection
from tuner.db.exchange.cache_file import KernelTunerFiles
from tuner.db.exchange.t4 import T4Files
from tuner.db.kernel_tuner import read_cache_file
from tuner.errors import ExchangeError, StoreError
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Config, Device, Measurement, Status, Trial, Workload

FORMAT = T4Files()
DEVICE = Device("cuda", "NVIDIA A100", "sm_80", 1, 0)
ASKED = Request("kernel_tuner:toy", {"M": 64}, DEVICE)
SPACE = SearchSpace([Parameter("A", (1, 2, 4)), Parameter("B", ("x", "y"))], [Constraint.parse("A < 4 or B == 'y'")])


def trials_of(space: SearchSpace, rng: np.random.Generator) -> tuple[Trial, ...]:
    """Return a trial of each config: some failed, the others with times beside the default's."""
    trials = []
    failures = [status for status in Status if status is not Status.CORRECT]
    for number, config in enumerate(space.iterate()):
        if number % 4 == 3:
            failed = failures[number // 4 % len(failures)]
            measurement = Measurement(failed, {}, 0.25, 0.0, error="it did not work")
        else:
            times = tuple(rng.uniform(1e-4, 2e-3, 3).tolist())
            beside = tuple(rng.uniform(9e-4, 1e-3, 3).tolist()) if number % 2 else ()
            samples = {"seconds": times} | ({"reference_seconds": beside} if beside else {})
            measurement = Measurement(Status.CORRECT, samples, 0.5, 0.125)
        trials.append(Trial(config, measurement, number=number))
    return tuple(trials)


def theirs(**changes: Any) -> dict[str, Any]:
    """Return a result as Kernel Tuner writes it."""
    return {
        "configuration": {"A": 1, "B": "x"},
        "times": {
            "compilation": 100.0,
            "benchmark": 5.0,
            "framework": 1,
            "search_algorithm": 0,
            "validation": 0,
            "runtimes": [2.0, 4.0, 3.0],
        },
        "invalidity": "correct",
        "correctness": 1,
        "measurements": [{"name": "time", "value": 3.5, "unit": "ms"}, {"name": "GFLOP/s", "value": 10, "unit": ""}],
        "objectives": ["time"],
        **changes,
    }


def put(folder: Path, *results: Any, **top: Any) -> Path:
    path = folder / "results.json"
    data = {"results": list(results), "schema_version": "1.0.0", "metadata": {"timeunit": "milliseconds"}, **top}
    path.write_text(json.dumps(data))
    return path


def alike(one: Trial, other: Trial, *, within: float = 1e-9) -> None:
    assert one.config == other.config
    first, second = one.measurement, other.measurement
    assert first.status is second.status
    assert set(first.samples) == set(second.samples)
    for name, values in first.samples.items():
        assert second.samples[name] == pytest.approx(values, rel=within)
    assert first.build_seconds == pytest.approx(second.build_seconds, rel=within)
    assert first.measure_seconds == pytest.approx(second.measure_seconds, rel=within)


def test_results_of_others_are_read(tmp_path: Path) -> None:
    slow = theirs(configuration={"A": 2, "B": "x"})
    slow["times"] = {**slow["times"], "runtimes": []}
    failed = theirs(configuration={"A": 4, "B": "y"}, invalidity="compile", correctness=0)
    reading = FORMAT.read(put(tmp_path, slow, theirs(), failed), ASKED)
    [finding] = reading.findings
    assert (finding.tunable, finding.workload, finding.device) == ("kernel_tuner:toy", Workload(M=64), DEVICE)
    assert finding.config == Config(A=1, B="x")
    assert finding.seconds == pytest.approx(3e-3)
    assert finding.details == {"configs_measured": 3}
    assert [trial.measurement.status.value for trial in reading.trials] == ["correct", "correct", "compile"]
    assert reading.trials[0].measurement.samples["seconds"] == pytest.approx((3.5e-3,))
    assert reading.trials[1].measurement.build_seconds == pytest.approx(0.1)
    assert reading.space is not None
    assert reading.space.size == 3


def test_other_units_are_seconds_in_the_end(tmp_path: Path) -> None:
    path = put(tmp_path, theirs(), metadata={"timeunit": "microseconds"})
    assert FORMAT.read(path, ASKED).trials[0].measurement.samples["seconds"] == pytest.approx((2e-6, 4e-6, 3e-6))


def test_the_space_may_stand_in_another_file(tmp_path: Path) -> None:
    space = tmp_path / "space.json"
    space.write_text(json.dumps(THEIRS))
    config = {"block_size_x": 64, "block_size_y": 2, "use_padding": 0, "method": "b"}
    asked = Request("kernel_tuner:toy", {}, DEVICE, space=space)
    reading = FORMAT.read(put(tmp_path, theirs(configuration=config)), asked)
    assert reading.space is not None
    assert reading.space.size > 1
    outside = theirs(configuration=config | {"block_size_y": 1, "block_size_x": 16})
    with pytest.raises(ExchangeError, match=r"field 'results\[1\].configuration' is not in the space"):
        FORMAT.read(put(tmp_path, theirs(configuration=config), outside), asked)


def test_where_every_config_failed_none_is_best(tmp_path: Path) -> None:
    reading = FORMAT.read(put(tmp_path, theirs(invalidity="runtime")), ASKED)
    assert reading.findings == ()
    assert "every config failed" in reading.notes[0]


@settings(max_examples=30, deadline=None)
@given(
    values=st.dictionaries(
        st.from_regex(r"[A-Z]{1,4}", fullmatch=True),
        st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True)
        | st.lists(st.text(max_size=4), min_size=1, max_size=3, unique=True)
        | st.just([False, True]),
        min_size=1,
        max_size=3,
    ),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], seed: int
) -> None:
    space = SearchSpace([Parameter(name, tuple(listed)) for name, listed in values.items()])
    trials = trials_of(space, np.random.default_rng(seed))
    folder = tmp_path_factory.mktemp("t4")
    selection = Selection(search=Search(TASK, space, trials))
    FORMAT.write(folder / "results.json", selection)
    reading = FORMAT.read(folder / "results.json", Request())
    assert reading.task == TASK
    for one, other in zip(trials, reading.trials, strict=True):
        alike(one, other)
        assert other.measurement.error == one.measurement.error
    # A cache file says the same, with as many digits as a clock tells.
    KernelTunerFiles().write(folder / "cache.json", selection)
    cached = KernelTunerFiles().read(folder / "cache.json", Request())
    assert cached.task == TASK
    by_config = {trial.config: trial for trial in cached.trials}
    for trial in trials:
        alike(trial, by_config[trial.config], within=1e-5)
    assert [one.config for one in cached.findings] == [one.config for one in reading.findings]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("mine")
    bad = Trial(Config(A=1), Measurement(Status.CORRECT, {"seconds": (float("nan"),)}))
    with pytest.raises((ExchangeError, ValueError)):
        FORMAT.write(path, Selection(search=Search(TASK, SPACE, (bad,))))
    with pytest.raises(ExchangeError, match="say whose"):
        FORMAT.write(path, Selection())
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "field 'results' is missing, empty"),
        ([7], r"field 'results\[0\]' is not an object"),
        ([theirs(), theirs(configuration=[1])], r"results\[1\].configuration' is missing or not an object"),
        ([theirs(configuration={"A": [1]})], r"results\[0\].configuration' is no config"),
        ([theirs(times=None)], r"results\[0\].times' is missing"),
        ([theirs(invalidity="slow")], r"results\[0\].invalidity' is 'slow'"),
        ([theirs(times={"runtimes": [-1.0]})], r"times.runtimes\[0\]' is -1.0"),
        ([theirs(times={"runtimes": "x"})], r"times.runtimes' is not a list"),
        ([theirs(times={"runtimes": [float("nan")]})], r"times.runtimes\[0\]' is nan"),
        ([theirs(times={"compilation": "x"})], r"times.compilation' is 'x'"),
        ([theirs(times={}, measurements=[])], "has no 'time' with a unit"),
        ([theirs(times={}, measurements=[{"name": "time", "value": "x", "unit": "ms"}])], "of 'time' is 'x'"),
        ([theirs(), theirs(configuration={"A": 1})], "do not both have the parameter 'B'"),
    ],
)
def test_a_bad_file_is_one_error_that_names_it(tmp_path: Path, results: list[Any], message: str) -> None:
    path = put(tmp_path, *results)
    with pytest.raises(ExchangeError, match=message) as raised:
        FORMAT.read(path, ASKED)
    assert str(path) in str(raised.value)


def test_what_a_file_does_not_tell_has_to_be_said(tmp_path: Path) -> None:
    path = put(tmp_path, theirs())
    with pytest.raises(ExchangeError, match="--kernel"):
        FORMAT.read(path, Request(device=DEVICE))
    with pytest.raises(ExchangeError, match="--target"):
        FORMAT.read(path, Request("toy"))
    with pytest.raises(ExchangeError, match="timeunit' is 'hours'"):
        FORMAT.read(put(tmp_path, theirs(), metadata={"timeunit": "hours"}), ASKED)
    with pytest.raises(ExchangeError, match=r"field 'tuner.task' is not a task"):
        FORMAT.read(put(tmp_path, theirs(), tuner={"task": {}}), ASKED)


@pytest.mark.filterwarnings("ignore:None of the tunable parameters specify")
class TestKernelTuner:
    """Kernel Tuner's own code on files of ours, and ours on its."""

    def test_its_schema_takes_our_results(self, tmp_path: Path) -> None:
        file_utils = pytest.importorskip("kernel_tuner.file_utils", reason="pip install 'rltuner[bench]'")
        jsonschema = pytest.importorskip("jsonschema", reason="pip install 'rltuner[bench]'")
        trials = trials_of(SPACE, np.random.default_rng(0))
        FORMAT.write(tmp_path / "results.json", Selection(search=Search(TASK, SPACE, trials)))
        version, schema = file_utils.output_file_schema("results")
        data = json.loads((tmp_path / "results.json").read_text())
        jsonschema.validate(data, schema)
        assert data["schema_version"] == version

    def test_its_simulation_answers_with_our_times(self, tmp_path: Path) -> None:
        kernel_tuner = pytest.importorskip("kernel_tuner", reason="pip install 'rltuner[bench]'")
        trials = trials_of(SPACE, np.random.default_rng(0))
        path = tmp_path / "cache.json"
        KernelTunerFiles().write(path, Selection(search=Search(TASK, SPACE, trials)))
        results, _ = kernel_tuner.tune_kernel(
            "cuda:toy",
            "__global__ void toy() {}",
            [64, 32],
            [],
            {"A": [1, 2, 4], "B": ["x", "y"]},
            restrictions=["A < 4 or B == 'y'"],
            cache=str(path),
            simulation_mode=True,
            # With a limit on time, it needs all parts of every entry's time.
            strategy="random_sample",
            strategy_options={"time_limit": 3600, "max_fevals": 99},
            verbose=False,
            quiet=True,
        )
        recorded = read_cache_file(path).measurements
        assert len(results) == len(recorded) == len(trials)
        for result in results:
            ours = recorded[Config(A=result["A"], B=result["B"])]
            if ours.status is Status.CORRECT:
                assert result["time"] * 1e-3 == pytest.approx(ours.samples["seconds"][0])
            else:
                assert "__error__" in result

        # And what it writes of that, as T4, we read.
        from kernel_tuner.file_utils import get_t4_results

        correct = [result for result in results if "__error__" not in result]
        (tmp_path / "t4.json").write_text(json.dumps(get_t4_results(correct, {"A": [], "B": []}), default=str))
        reading = FORMAT.read(tmp_path / "t4.json", ASKED)
        best = min(correct, key=lambda result: result["time"])
        assert len(reading.trials) == len(correct)
        assert reading.findings[0].config == Config(A=best["A"], B=best["B"])


def test_a_cache_file_of_others_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "conv.json"
    entries = {str(a): {"A": a, "time": 4.0 - a, "compile_time": 1.0} for a in (1, 2)}
    data = {"device_name": "NVIDIA H100 80GB HBM3", "kernel_name": "conv", "problem_size": [8, 4]}
    path.write_text(json.dumps({**data, "tune_params_keys": ["A"], "tune_params": {"A": [1, 2]}, "cache": entries}))
    reading = KernelTunerFiles().read(path, Request())
    [finding] = reading.findings
    assert (finding.tunable, finding.config) == ("conv", Config(A=2))
    assert finding.seconds == pytest.approx(2e-3)
    assert finding.device.arch == "sm_90"
    assert finding.workload == Workload(size_0=8, size_1=4)
    assert finding.origin.program == "Kernel Tuner"
    renamed = KernelTunerFiles().read(path, Request("kernel_tuner:conv", {"dtype": "fp16"}, DEVICE)).findings[0]
    assert (renamed.tunable, renamed.device) == ("kernel_tuner:conv", DEVICE)
    assert renamed.workload["dtype"] == "fp16"
    with pytest.raises(ExchangeError, match="cannot read"):
        KernelTunerFiles().read(tmp_path / "none.json", Request())
    path.write_text("{}")
    with pytest.raises(StoreError, match="tune_params_keys"):
        KernelTunerFiles().read(path, Request())
