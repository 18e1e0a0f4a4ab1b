"""A campaign for a GPU that is not here: built and pruned for real, on a device that replays."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("triton") is None:
    pytest.skip("needs Triton: pip install 'rltuner[triton]'", allow_module_level=True)

from tuner.campaign import Campaign
from tuner.db import MemoryStore
from tuner.gpus import target_device
from tuner.plan import Budget, Plan
from tuner.runners import LocalRunner
from tuner.tunable import load, make_task
from tuner.types import Status

REPLAYED = f"{Path(__file__).parents[3] / 'benchmarks/probes/replayed.py'}:KERNEL"


@pytest.mark.slow
def test_a_campaign_builds_prunes_and_ends(tmp_path: Path) -> None:
    kernel, store = load(REPLAYED), MemoryStore()
    fields = kernel.workload({"M": 512, "N": 512, "K": 512})
    task = make_task(REPLAYED, kernel, fields, target_device("cuda:90"))
    runner = LocalRunner(builders=2, cache=tmp_path)
    try:
        campaign = Campaign([task], Plan(agent="random", budget=Budget(10), seed=5), runner=runner, store=store)
        [result] = campaign.run()
    finally:
        runner.close()
    trials = store.trials(campaign.id, task)
    assert len(trials) == 10
    statuses = {trial.measurement.status for trial in trials}
    assert Status.CORRECT in statuses
    assert statuses <= {Status.CORRECT, Status.CONSTRAINTS}
    for trial in trials:
        assert bool(trial.measurement.error) == (trial.measurement.status is Status.CONSTRAINTS)
    # All take the same time by this device's word, and so the default stays.
    assert not result.promoted
    assert result.config == kernel.default(task.workload, task.device)
