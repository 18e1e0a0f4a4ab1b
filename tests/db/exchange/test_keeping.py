from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner.db import MemoryStore, Store
from tuner.db.exchange import Finding, Origin
from tuner.db.exchange.keeping import keep
from tuner.db.sql import SqlStore
from tuner.errors import StoreError
from tuner.gpus import target_device
from tuner.types import Config, State, Workload

ORIGIN = Origin("vLLM", "E=8,N=64,device_name=NVIDIA_H200.json", 64 * "a", {"triton": "3.5.0"})


@pytest.fixture(params=["memory", "sql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else SqlStore(tmp_path / "store.db")
    yield opened
    opened.close()


def finding(tokens: int, warps: int = 4, *, origin: Origin = ORIGIN, seconds: float | None = None) -> Finding:
    workload = Workload(E=8, N=64, M=tokens)
    return Finding("vllm:fused_moe", workload, target_device("h200"), Config(num_warps=warps), origin, seconds=seconds)


def test_a_finding_is_a_candidate_that_claims_nothing(store: Store) -> None:
    kept = keep(store, [finding(1), finding(2, seconds=2e-3)])
    assert [winner.id for winner in kept.added] == [1, 2]
    assert store.winners() == []
    second, first = store.winners(state=None)
    assert first.state is second.state is State.CANDIDATE
    assert first.task == finding(1).task
    evidence = first.evidence
    assert evidence.origin == "vLLM, E=8,N=64,device_name=NVIDIA_H200.json, sha256 aaaaaaaaaaaaaaaa"
    assert evidence.resources["file_digest"] == 64 * "a"
    assert evidence.environment == {"triton": "3.5.0"}
    assert (evidence.speedup, evidence.interval, evidence.rounds, evidence.samples) == (1.0, (0.0, float("inf")), 0, {})
    assert (evidence.config_seconds, second.evidence.config_seconds) == (0.0, 2e-3)
    assert store.history(1)[0].why == "imported from vLLM"


def test_importing_again_changes_nothing(store: Store) -> None:
    keep(store, [finding(1), finding(2)])
    store.quarantine(1, "wrong results")
    kept = keep(store, [finding(1), finding(2), finding(3), finding(3)])
    assert [winner.task.workload["M"] for winner in kept.added] == [3]
    assert kept.known == 3
    assert len(store.winners(state=None)) == 3
    assert store.winner(1).state is State.QUARANTINED
    changed = Origin(ORIGIN.program, ORIGIN.file, 64 * "b")
    assert len(keep(store, [finding(1, origin=changed)]).added) == 1


def test_nothing_of_a_failed_import_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqlStore(tmp_path / "store.db")
    real, seen = __import__("tuner.db.sql", fromlist=["keep_winner"]).keep_winner, []

    def fails_at_last(*arguments: object) -> object:
        seen.append(arguments)
        if len(seen) == 3:
            raise StoreError("the disk is full")
        return real(*arguments)

    monkeypatch.setattr("tuner.db.sql.keep_winner", fails_at_last)
    with pytest.raises(StoreError, match="disk is full"):
        keep(store, [finding(1), finding(2), finding(3)])
    assert store.winners(state=None) == []
    store.close()


def test_the_default_of_a_kernel_of_ours_is_known() -> None:
    store = MemoryStore()
    workload = Workload(T=64, N=128, K=64, E=8, TOPK=2, dtype="bf16")
    ours = Finding("triton:fused_moe", workload, target_device("h200"), Config(num_warps=4), ORIGIN)
    [winner] = keep(store, [ours]).added
    assert winner.evidence.default["num_warps"] == 4
    assert len(winner.evidence.default) == 6
