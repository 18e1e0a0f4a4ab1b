"""A device of two cores, from the command line to the lookup."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.runners.test_local import needs_two_cores
from tuner.campaign import Campaign, task_of
from tuner.cli import app
from tuner.cli.spec import read_spec
from tuner.db import MemoryStore
from tuner.devices import available_cores, detect
from tuner.errors import SpecError, TunerError
from tuner.finals import Finals
from tuner.lookup import Source
from tuner.lookup.ask import best
from tuner.plan import Budget, Plan
from tuner.runners import LocalRunner
from tuner.types import Status, Task

pytestmark = needs_two_cores


@pytest.mark.slow
def test_a_device_of_two_cores_is_tuned_end_to_end(tmp_path: Path) -> None:
    store, runner = MemoryStore(), LocalRunner(cache=tmp_path)
    task = task_of("softmax", {"M": 64, "N": 1024}, detect("cpu:2"))
    plan = Plan(agent="random", budget=Budget(trials=6), finals=Finals(threshold=0.01))
    campaign = Campaign([task], plan, runner=runner, store=store)
    [result] = campaign.run()
    runner.close()
    trials = store.trials(campaign.id, task)
    assert [trial.measurement.status for trial in trials] == [Status.CORRECT] * 6
    assert trials[0].config["THREADS"] == 2
    assert {trial.config["THREADS"] for trial in trials} == {1, 2}
    assert result.promoted
    # What is proven for two cores is not what one core gets.
    assert best(store, task).source is Source.EXACT
    assert best(store, task_of("softmax", {"M": 64, "N": 1024})).source is Source.DEFAULT


def interrupted(store: MemoryStore, task: Task) -> str:
    """Return a campaign that is stopped before it begins."""
    runner = LocalRunner()
    campaign = Campaign([task], Plan(agent="random", budget=Budget(trials=2)), runner=runner, store=store)
    campaign.stop()
    campaign.run()
    runner.close()
    return campaign.id


def test_a_campaign_on_two_cores_is_resumed_on_two_cores() -> None:
    store, runner = MemoryStore(), LocalRunner()
    task = task_of("tuner.testing.toys:PARABOLA", {"N": 3}, detect("cpu:2"))
    campaign = Campaign.resume(interrupted(store, task), runner=runner, store=store)
    assert campaign.tasks == [task]
    [result] = campaign.run()
    assert result.trials == 2
    runner.close()


def test_a_campaign_is_not_resumed_where_there_are_too_few_cores() -> None:
    store, runner = MemoryStore(), LocalRunner()
    count = len(available_cores()) + 1
    task = task_of("tuner.testing.toys:PARABOLA", {"N": 3})
    elsewhere = dataclasses.replace(task, device=dataclasses.replace(task.device, count=count))
    with pytest.raises(TunerError, match=f"cpu:{count} is not there"):
        Campaign.resume(interrupted(store, elsewhere), runner=runner, store=store)
    runner.close()


def test_the_command_line_looks_up_for_the_device_that_is_named(tmp_path: Path) -> None:
    words = ["best", "softmax", "-w", "M=8", "-w", "N=1024", "--store", str(tmp_path / "store.db"), "--json"]
    found = {}
    for name in ("cpu", "cpu:2"):
        ran = CliRunner().invoke(app, [*words, "--device", name], catch_exceptions=False)
        found[name] = json.loads(ran.stdout.splitlines()[-1])["config"]
    assert "THREADS" not in found["cpu"]
    assert found["cpu:2"]["THREADS"] == 2


def test_a_specification_names_the_device(tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"
    tasks = "tasks:\n- {kernel: softmax, workloads: [{M: 8, N: 1024}]}\n"
    file.write_text(f"device: cpu:2\n{tasks}")
    assert [task.device.count for task in read_spec(file).tasks] == [2]
    file.write_text(f"device: cpu:many\n{tasks}")
    with pytest.raises(SpecError, match=r":1: 'cpu:many' is not a device; write cpu for one core, or cpu:N"):
        read_spec(file)
