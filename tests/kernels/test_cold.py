"""Cold caches with a real kernel: what is asked for reaches the launcher, the trials and the proof."""

from __future__ import annotations

import contextlib

import pytest

from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.devices import detect
from tuner.finals import Finals
from tuner.kernels.arguments import Arguments
from tuner.kernels.softmax.cpp import KERNEL
from tuner.kernels.toolchains.cpp import CppLauncher
from tuner.lookup import Source
from tuner.lookup.ask import best
from tuner.plan import Budget, Plan
from tuner.runners import LocalRunner
from tuner.types import Build, Evidence, Sampling, Status

FIELDS = {"M": 4, "N": 256}
DEVICE = detect("cpu")


def build() -> Build:
    workload = KERNEL.workload(FIELDS)
    config = KERNEL.default(workload, DEVICE)
    return Build(config, KERNEL.build(config, workload, DEVICE))


def test_a_cold_campaign_measures_and_proves_with_cold_caches() -> None:
    task = task_of("cpp:softmax", {**FIELDS, "cache": "cold"})
    plan = Plan(agent="random", budget=Budget(4), finals=Finals(semifinal_rounds=13, rounds=13))
    store = MemoryStore()
    with contextlib.closing(LocalRunner()) as runner:
        campaign = Campaign([task], plan, runner=runner, store=store)
        [result] = campaign.run()
    correct = [t for t in store.trials(campaign.id, task) if t.measurement.status is Status.CORRECT]
    assert len(correct) >= 2
    assert {trial.measurement.resources["cache"] for trial in correct} == {"cold"}
    if result.winner:
        evidence = result.winner.evidence
    else:
        evidence = Evidence.from_json(store.outcomes(campaign.id)[task.key]["final"]["evidence"])
    assert evidence.resources["cache"] == "cold"
    # What was found for cold caches is not served where they are warm.
    assert best(store, task_of("cpp:softmax", FIELDS)).source is Source.DEFAULT


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_a_real_launcher_evicts_before_each_sample_where_caches_are_cold(
    cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evicted = 0
    evict = CppLauncher.evict

    def counted(launcher: CppLauncher, arguments: Arguments) -> None:
        nonlocal evicted
        evict(launcher, arguments)
        evicted += 1

    monkeypatch.setattr(CppLauncher, "evict", counted)
    one = build()
    workload = KERNEL.workload({**FIELDS, "cache": cache})
    [_, measured] = KERNEL.measure([one, one], workload, Sampling(seed=0, rounds=6))
    assert measured.status is Status.CORRECT, measured.error
    assert measured.resources["cache"] == cache
    samples = 2 * len(measured.samples["seconds"])
    assert evicted >= samples if cache == "cold" else evicted == 0


def test_a_cpu_that_cannot_evict_says_what_to_leave_away(monkeypatch: pytest.MonkeyPatch) -> None:
    load = KERNEL.load

    def without(artifact: object) -> CppLauncher:
        launcher = load(artifact)  # type: ignore[arg-type]
        monkeypatch.setattr(launcher, "_evict", lambda *_: 0)
        return launcher

    monkeypatch.setattr(KERNEL, "load", without)
    with pytest.raises(OSError, match="no instruction that empties caches; leave cache=cold away"):
        KERNEL.measure([build()], KERNEL.workload({**FIELDS, "cache": "cold"}), Sampling(seed=0, rounds=2))
