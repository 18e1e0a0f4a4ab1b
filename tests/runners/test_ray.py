from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runners.test_gang import results, wide, wide_task
from tests.runners.test_gpus import task as gpu_task
from tests.runners.test_local import SHORT, evaluate_side_by_side, require_turns, toy_task, witness
from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.devices import available_cores, detect
from tuner.errors import TunerError
from tuner.phrase import parse_objective
from tuner.plan import Budget, Plan
from tuner.runners import LocalRunner, Runner
from tuner.testing.runner import RunnerContract
from tuner.tunable import load
from tuner.types import Config, Sampling, Status

ray = pytest.importorskip("ray", reason="Ray is optional: pip install 'rltuner[ray]'")

from tuner.runners.ray import RayRunner  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Ray leaves sockets and files of its own open; they are not ours to close.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class TestRayRunner(RunnerContract):
    @classmethod
    def make(cls) -> Runner:
        return RayRunner(timeouts=SHORT)


def test_the_same_plan_finds_the_same_winner_locally_and_on_ray() -> None:
    plan = Plan(agent="optuna", budget=Budget(trials=12), seed=3, in_flight=3)
    found = []
    for make in (LocalRunner, RayRunner):
        runner: Runner = make()
        store = MemoryStore()
        task = task_of("tuner.testing.toys:PARABOLA", {"N": 11})
        campaign = Campaign([task], plan, runner=runner, store=store)
        [result] = campaign.run()
        runner.close()
        found.append((result.config, [trial.config for trial in store.trials(campaign.id, task)]))
    assert found[0] == found[1]


def test_artifacts_travel_through_ray(tmp_path: Path) -> None:
    """A device actor whose cache is empty gets the artifact from the builder."""
    runner = RayRunner(cache=tmp_path / "cache")
    try:
        task = task_of("add_rmsnorm", {"M": 2, "N": 64})
        config = load(task.tunable).default(task.workload, task.device)
        assert runner.submit(task, config, Sampling(0, 3)).result(timeout=120).status is Status.CORRECT
    finally:
        runner.close()


def test_nothing_is_built_beside_a_measurement_on_the_whole_machine(tmp_path: Path) -> None:
    cores = len(available_cores())
    task, notes = witness(tmp_path, detect(f"cpu:{cores}"))
    runner = RayRunner(cache=tmp_path / "cache", builders=2)
    try:
        evaluate_side_by_side(runner, [task])
    finally:
        runner.close()
    found = require_turns(notes)
    assert {note["what"] for note in found} == {"build", "measure"}
    assert all(note["cores"] == list(available_cores()) for note in found)


class TestCluster:
    @pytest.fixture(scope="class")
    @classmethod
    def address(cls) -> Iterator[str]:
        cluster_utils = pytest.importorskip("ray.cluster_utils")
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        cluster.add_node(num_cpus=1)
        yield cluster.address
        cluster.shutdown()

    def test_a_cluster_is_joined_by_its_address(self, address: str) -> None:
        runner = RayRunner(address=address, builders=1)
        try:
            assert len(ray.nodes()) == 2
            measured = runner.submit(toy_task(), Config(X=3, FAULT="none"), Sampling(0, 3)).result(timeout=120)
            assert measured.status is Status.CORRECT
        finally:
            runner.close()

    def test_a_ray_that_was_running_is_left_running(self, address: str) -> None:
        ray.init(address=address, log_to_driver=False)
        try:
            RayRunner(builders=1).close()
            assert ray.is_initialized()
        finally:
            ray.shutdown()


def test_a_cluster_that_is_not_there() -> None:
    with pytest.raises(TunerError, match=r"cannot join the Ray cluster at 127\.0\.0\.1:1"):
        RayRunner(address="127.0.0.1:1")


def test_a_ray_client_s_address_is_refused() -> None:
    with pytest.raises(TunerError, match=r"Ray client's server.*give --ray auto"):
        RayRunner(address="ray://127.0.0.1:10001")


def test_a_tunable_that_changed_is_told_as_it_is(tmp_path: Path) -> None:
    source = "from tuner.testing.toys import Parabola\nKERNEL = Parabola()\nKERNEL.version = '{}'\n"
    file = tmp_path / "mine.py"
    file.write_text(source.format("1"))
    task = toy_task(f"{file}:KERNEL")
    file.write_text(source.format("2"))
    runner = RayRunner(builders=1)
    try:
        with pytest.raises(TunerError, match="has changed since the campaign started"):
            runner.submit(task, Config(X=1, FAULT="none"), Sampling(0, 3)).result(timeout=120)
    finally:
        runner.close()


def test_each_device_actor_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    """Ray is told of two GPUs, and shows each actor one of them."""
    ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
    runner = RayRunner(cache=tmp_path, builders=1, gpus=2)
    try:
        task = gpu_task()
        waiting = [runner.submit(task, Config(X=x, FAULT="none"), Sampling(0, 1)) for x in (1, 2, 5, 6, 7, 8)]
        seen = {future.result(timeout=120).resources["gpus"] for future in waiting}
    finally:
        runner.close()
        ray.shutdown()
    assert seen == {"0", "1"}


class TestGangs:
    """Two nodes of four and of two devices, which Ray only counts."""

    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls) -> Iterator[RayRunner]:
        cluster_utils = pytest.importorskip("ray.cluster_utils")
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 8, "resources": {"slot": 4}})
        cluster.add_node(num_cpus=8, resources={"slot": 2})
        runner = RayRunner(address=cluster.address, builders=1, gang="slot", timeouts=SHORT)
        yield runner
        runner.close()
        cluster.shutdown()

    def test_servers_take_their_devices_on_one_node_and_give_them_back(self, runner: RayRunner) -> None:
        task = wide_task(kind="cpu")
        found = results(runner, task, [2, 4, 1, 2, 4, 1, 1, 8])
        assert [one.status for one in found] == [Status.CORRECT] * 7 + [Status.CONSTRAINTS]
        assert [one.resources["devices"] for one in found[:7]] == [2, 4, 1, 2, 4, 1, 1]
        assert found[7].error == "needs 8 devices at once, and the largest machine has 4"
        assert runner._gangs is not None
        kept = sum([int(group.size) for group in runner._gangs._groups])
        # Ray tells of what was given back a moment later, and of what nothing is left of, not at all.
        until = time.monotonic() + 30
        while ray.available_resources().get("slot", 0) != 6 - kept:
            assert time.monotonic() < until
            time.sleep(0.05)

    def test_no_more_devices_are_in_use_than_there_are(self, runner: RayRunner) -> None:
        task = wide_task(kind="cpu")
        waiting = [
            runner.compare(task, [wide(size, batch=number % 8)], Sampling(number, 2), fresh=True)
            for number, size in enumerate([2, 1, 4, 2, 1, 2, 4, 1])
        ]
        most = 0.0
        while not all(future.done() for future in waiting):
            assert runner._gangs is not None
            groups = list(runner._gangs._groups)
            by_node: dict[Any, int] = {}
            for group in groups:
                by_node[group.node] = by_node.get(group.node, 0) + group.size
            assert all(count <= int(runner._gangs._nodes[node]) for node, count in by_node.items())
            most = max(most, sum(by_node.values()))
            time.sleep(0.01)
        assert {future.result()[0].status for future in waiting} == {Status.CORRECT}
        assert most >= 4

    def test_a_device_that_no_node_has(self, runner: RayRunner) -> None:
        with pytest.raises(TunerError, match="no node of the Ray cluster has the resource 'tpu'"):
            RayRunner(builders=1, gang="tpu")

    def test_a_campaign_chooses_how_many_devices(self, runner: RayRunner) -> None:
        task = wide_task(kind="cpu")
        plan = Plan("random", Budget(12), parse_objective("minimize seconds where devices<2.5"), seed=1)
        store = MemoryStore()
        campaign = Campaign([task], plan, runner=runner, store=store)
        campaign.run()
        trials = store.trials(campaign.id, task)
        assert {trial.measurement.status for trial in trials} <= {Status.CORRECT, Status.CONSTRAINTS}
        for trial in trials:
            fits = trial.config["RANKS"] != 8
            assert (trial.measurement.status is Status.CORRECT) is fits
            assert not fits or trial.measurement.resources["devices"] == trial.config["RANKS"]
