"""What the evidence of a real kernel's winner tells, from the finals to the store and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.db.sql import open_store
from tuner.kernels.conditions import CpuConditions
from tuner.tunable import load
from tuner.tuning import tune
from tuner.types import Evidence


@pytest.mark.slow
def test_the_evidence_of_a_real_kernel_is_whole(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db")
    result = tune("cpp:layernorm", {"M": 16, "N": 768}, trials=3, agent="random", store=store)
    [campaign] = store.campaigns()
    outcome = store.outcomes(campaign.id)[result.task.key]
    # Nothing is said of how fast it is: what kept the default is evidence, too.
    evidence = store.winners()[0].evidence if result.promoted else Evidence.from_json(outcome["final"]["evidence"])
    store.close()
    assert {"semifinal", "final", "edges"} >= set(evidence.seeds) >= {"final", "edges"}
    assert evidence.seeds["final"] == evidence.seed
    assert evidence.tolerance
    assert evidence.largest_error is not None
    assert 0 <= evidence.largest_error < 1e-3
    assert len(evidence.edge_shapes) >= 3
    assert result.task.workload not in evidence.edge_shapes
    assert evidence.source_hash == load("cpp:layernorm").version
    assert "compiler" in evidence.environment
    assert {"cache", "clock", "clock_reason", "discarded_rounds", *CpuConditions().seen()} <= set(evidence.conditions)
    assert len(set(evidence.samples["load"])) > 1
