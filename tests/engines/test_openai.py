from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuner.devices import detect
from tuner.engines import Engine, EngineError, Window, server
from tuner.engines.openai import OpenAi
from tuner.errors import WorkloadError
from tuner.testing.engine import EngineContract
from tuner.testing.openai_server import Fault
from tuner.types import Build, Config, Measurement, Sampling, Status, Workload

TRAFFIC = {"concurrency": 4, "seconds": 0.3, "output_tokens": 4, "prompt_tokens": 5, "timeout_seconds": 3.0}
SERVER: dict[str, Any] = {
    "command": "{python} -m tuner.testing.openai_server --port {port}",
    "model": "fake",
    "deadline_seconds": 20,
    "parameters": [
        {"name": "dtype", "flag": "--dtype", "values": ["auto", "float32"], "silent": ["auto"]},
        {"name": "max_num_seqs", "flag": "--max-num-seqs", "values": [1, 4, 16], "default": 4},
        {"name": "fault", "flag": "--fault", "values": [fault.value for fault in Fault]},
        {"name": "flag", "flag": "--no-such-option", "values": ["no", "yes"], "silent": ["no"]},
    ],
    "constraints": ["max_num_seqs >= 4 or dtype == 'auto'"],
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "server.yaml"
    path.write_text(yaml.safe_dump({**SERVER, **changes}))
    return path


def workload_in(folder: Path, **changes: Any) -> Workload:
    return OpenAi().workload({"server": str(write(folder, **changes)), **TRAFFIC})


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    return workload_in(tmp_path)


@pytest.fixture
def tunable() -> Iterator[OpenAi]:
    one = OpenAi()
    yield one
    one.close()


def config(dtype: str = "auto", fault: Fault = Fault.NONE, *, flag: str = "no") -> Config:
    return Config(dtype=dtype, max_num_seqs=4, fault=fault.value, flag=flag)


def measured(tunable: OpenAi, workload: Workload, *configs: Config) -> list[Measurement]:
    return tunable.measure([Build(one, None) for one in configs], workload, Sampling(seed=0, rounds=2))


class TestServerEngine(EngineContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make(self) -> Engine:
        return OpenAi().create(workload_in(self.folder))

    def configs(self) -> tuple[Config, Config]:
        return config(), config("float32")


def test_the_default_and_a_challenger_are_served_in_turns(tunable: OpenAi, workload: Workload) -> None:
    default, other = measured(tunable, workload, config(), config("float32"))
    assert default.status is other.status is Status.CORRECT
    for metric in ("seconds", "goodput_per_second", "requests_per_second", "output_tokens_per_second", "cpu_seconds"):
        assert len(other.samples[metric]) == len(other.samples[f"reference_{metric}"]) == 2, metric
    requests = len(other.samples["ttft_seconds"])
    assert requests == len(other.samples["tpot_seconds"]) == len(other.samples["e2e_seconds"]) > 8
    assert len(other.samples["itl_seconds"]) == 3 * requests
    assert len(other.samples["ttft_seconds_p99"]) == len(other.samples["reference_ttft_seconds_p99"]) == 2
    assert other.resources["error_rate"] == 0
    assert isinstance(other.resources["start_seconds"], float)
    assert sum(other.samples["output_tokens"]) == 4 * requests


def test_trials_that_share_a_config_share_its_server(tunable: OpenAi, workload: Workload) -> None:
    measured(tunable, workload, config(), config("float32"))
    again = measured(tunable, workload, config(), config("float32"))
    # Nothing was started anew: the time of the start is that of the first.
    assert [one.status for one in again] == [Status.CORRECT] * 2
    first = measured(tunable, workload, config())
    assert first[0].resources["start_seconds"] == again[0].resources["start_seconds"]


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (Fault.RAISES, Status.RUNTIME, "status 1: ValueError: max_num_seqs=4 is not supported"),
        (Fault.KV_SPACE, Status.RUNTIME, "KV cache space is larger than the available memory"),
        (Fault.DIES, Status.RUNTIME, "status 1: RuntimeError: a worker has died"),
        (Fault.EXIT_0, Status.RUNTIME, "status 0: RuntimeError: a worker has died"),
        (Fault.REFUSES, Status.RUNTIME, "the server does not answer"),
    ],
)
def test_a_fault_is_a_status_with_the_servers_reason(
    tunable: OpenAi, workload: Workload, fault: Fault, status: Status, reason: str
) -> None:
    default, broken = measured(tunable, workload, config(), config(fault=fault))
    assert default.status is Status.CORRECT
    assert broken.status is status
    assert reason in broken.error


def test_a_slow_start_is_a_time_out(tunable: OpenAi, tmp_path: Path) -> None:
    slow = workload_in(tmp_path, deadline_seconds=4)
    [late] = measured(tunable, slow, config(fault=Fault.SLOW_START))
    assert late.status is Status.TIMEOUT
    assert "within 4 seconds" in late.error


def test_an_option_that_the_server_does_not_know_is_its_own_error(tunable: OpenAi, workload: Workload) -> None:
    [refused] = measured(tunable, workload, config(flag="yes"))
    assert refused.status is Status.RUNTIME
    assert "unrecognized arguments: --no-such-option" in refused.error


@pytest.mark.parametrize("fault", [Fault.CUTS, Fault.HANGS])
def test_answers_that_fail_are_misses(
    tunable: OpenAi, tmp_path: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is sent before the first window fails as well, and would be waited for two minutes.
    monkeypatch.setattr(server, "_WARM_SECONDS", 0.4)
    quick = OpenAi().workload({"server": str(write(tmp_path)), **TRAFFIC, "timeout_seconds": 0.4})
    [one] = tunable.measure([Build(config(fault=fault), None)], quick, Sampling(seed=0, rounds=1))
    assert one.status is Status.CORRECT
    assert one.resources["error_rate"] == 1
    assert one.samples["goodput_per_second"] == (0,)
    assert one.samples["requests_per_second"] == (0,)
    assert set(one.samples["e2e_seconds"]) == {0.4}
    assert one.samples["seconds"][0] > 0.3


def test_the_space_is_that_of_the_file(tunable: OpenAi, workload: Workload) -> None:
    space = tunable.search_space(workload, detect("cpu"))
    assert space.names == ("dtype", "max_num_seqs", "fault", "flag")
    assert space.default == config()
    assert not space.contains(Config(dtype="float32", max_num_seqs=1, fault="none", flag="no"))


def test_memory_is_looked_at_before_a_start(tunable: OpenAi, tmp_path: Path) -> None:
    huge = workload_in(tmp_path, memory_bytes=2**50)
    [refused] = measured(tunable, huge, config())
    assert refused.status is Status.RUNTIME
    assert "needs 1048576.0 GiB of memory" in refused.error


def test_without_room_for_two_they_take_turns_by_restart(
    tunable: OpenAi, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAi, "fits", lambda *_: False)
    default, other = measured(tunable, workload, config(), config("float32"))
    assert default.status is other.status is Status.CORRECT
    assert len(other.samples["reference_seconds"]) == 2


def test_several_profiles_are_served_by_one_server(tunable: OpenAi, tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.yaml"
    few = {**TRAFFIC, "concurrency": 1, "share": 3}
    traffic.write_text(yaml.safe_dump({"profiles": {"many": TRAFFIC, "few": few}}))
    both = tunable.workload({"server": str(write(tmp_path)), "traffic": str(traffic)})
    [one] = tunable.measure([Build(config(), None)], both, Sampling(seed=0, rounds=1))
    [many] = tunable.measure(
        [Build(config(), None)], OpenAi().workload({**dict(workload_in(tmp_path))}), Sampling(0, 1)
    )
    assert one.samples["requests_per_second"][0] < many.samples["requests_per_second"][0]


def test_a_file_that_changed_is_another_workload(tmp_path: Path) -> None:
    one = workload_in(tmp_path)
    other = workload_in(tmp_path, deadline_seconds=21)
    assert one != other
    with pytest.raises(WorkloadError, match="has changed since"):
        OpenAi().workload(one)
    with pytest.raises(WorkloadError, match="has changed since the campaign started"):
        OpenAi().launch(config(), one)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"command": "serve"}, "no {port} in it"),
        ({"model": ""}, "lacks model"),
        ({"nosuch": 1}, "'nosuch', which no server has"),
        ({"parameters": [{"name": "a", "values": [1, 2]}]}, "needs a flag or a variable"),
        ({"constraints": ["max_num_seqs >"]}, "server.yaml"),
    ],
)
def test_mistakes_in_a_server_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        workload_in(tmp_path, **changes)


def test_a_server_that_died_is_started_again(tunable: OpenAi, workload: Workload) -> None:
    engine = tunable.create(workload)
    try:
        engine.apply(config(fault=Fault.EXIT_0))
        with pytest.raises(EngineError):
            engine.measure(Window(0))
        assert engine.apply(config()).value == "start"
        assert engine.measure(Window(0))["goodput_per_second"][0] > 0
    finally:
        engine.close()
