"""Campaigns to report on: one that ran, and some that are made up."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tuner.campaign import Campaign, task_of
from tuner.db import CampaignState, MemoryStore
from tuner.finals import Finals
from tuner.objective import Objective
from tuner.plan import Budget, Plan
from tuner.result import Result
from tuner.runners import LocalRunner
from tuner.types import Config, Evidence, Measurement, Scalar, State, Status, Task, Trial, Winner

NASTY = "a.cpp:1: error: </script><script>document.title='broken'</script> <img src=x onerror=alert(1)> \"&'` {{ 7*7 }}"

Made = tuple[MemoryStore, str]


@pytest.fixture(scope="session")
def ran() -> Made:
    """A campaign of two toy tasks, measured by real workers: configs of one fail in three ways."""
    store, runner = MemoryStore(), LocalRunner()
    tasks = [task_of(f"tuner.testing.toys:{name}", {"N": 3}) for name in ("FRAGILE", "PARABOLA")]
    plan = Plan(agent="random", budget=Budget(trials=40), finals=Finals(semifinal_rounds=3, rounds=15), seed=3)
    campaign = Campaign(tasks, plan, runner=runner, store=store)
    campaign.run()
    runner.close()
    return store, campaign.id


@pytest.fixture(scope="session")
def made() -> Callable[..., Made]:
    return make


def make(
    *,
    trials: int = 60,
    tasks: int = 1,
    state: CampaignState = CampaignState.FINISHED,
    promoted: bool | None = True,
    failing: float = 0.25,
    seed: int = 0,
    objective: Objective = Objective(),
) -> Made:
    """Keep a campaign whose times are a formula with noise; UNROLL and LAYOUT decide, NAME is idle, UNROLL=32 fails.

    Args:
        promoted: Whether the final's config was; None for tasks without a final.
        failing: Share of the other trials that fail at random.
    """
    rng = np.random.default_rng(seed)
    store = MemoryStore()
    keys = [task_of("tuner.testing.toys:PARABOLA", {"N": n + 1}) for n in range(tasks)]
    agent = "optuna:nsgaii" if objective.beside else "random"
    plan = Plan(agent=agent, budget=Budget(trials=trials), objective=objective, seed=seed)
    campaign = store.create_campaign(plan.to_json(), keys)
    for task in keys:
        kept = [_trial(campaign, number, rng, failing) for number in range(trials)]
        for trial in kept:
            store.add_trial(task, trial)
        if state is CampaignState.FINISHED:
            _finish(store, campaign, task, kept, promoted, rng)
    store.set_campaign_state(campaign, state, add_wall_seconds=12.0)
    return store, campaign


def _trial(campaign: str, number: int, rng: np.random.Generator, failing: float) -> Trial:
    unroll, layout = int(rng.choice([1, 2, 4, 8, 16, 32])), str(rng.choice(["row", "tile"]))
    if number == 0:
        unroll, layout = 1, "row"
    config = Config(
        UNROLL=unroll, LAYOUT=layout, PREFETCH=bool(rng.integers(2)), NAME=f"<b>{rng.integers(4)}</b>", ONE=1
    )
    if unroll == 32:
        return Trial(config, Measurement(Status.COMPILE, error=NASTY), campaign, number)
    if number and rng.random() < failing:
        status = Status(str(rng.choice(["runtime", "correctness", "timeout"])))
        return Trial(config, Measurement(status, error="output 'out' is <nan> at [0, 3]"), campaign, number)
    samples = _samples(_ratio(config) if number else 1.0, 15, rng)
    resources: dict[str, Scalar] = {
        "load": round(float(rng.uniform(0.1, 1.5)), 2),
        "frequency_hz": 2.9e9,
        "cache": "warm",
        "clock": "cpu" if number % 7 else "wall",
        "clock_reason": "it <ran> alone",
        "stopped": "precise",
        "discarded_rounds": number % 3,
        "rel_error": 1e-6,
        "code_bytes": 4096 // unroll + (512 if layout == "tile" else 0),
    }
    return Trial(config, Measurement(Status.CORRECT, samples, 0.1, 0.2, resources), campaign, number)


def _ratio(config: Config) -> float:
    return (1 + 0.1 * abs(math.log2(config.integer("UNROLL")) - 3)) * (0.7 if config["LAYOUT"] == "tile" else 1.0)


def _samples(ratio: float, rounds: int, rng: np.random.Generator) -> dict[str, tuple[float, ...]]:
    reference = 1e-3 * np.exp(rng.normal(0, 0.02, rounds))
    seconds = ratio * 1e-3 * np.exp(rng.normal(0, 0.02, rounds))
    return {"seconds": tuple(seconds.tolist()), "reference_seconds": tuple(reference.tolist())}


def _finish(
    store: MemoryStore,
    campaign: str,
    task: Task,
    trials: list[Trial],
    promoted: bool | None,
    rng: np.random.Generator,
) -> None:
    default = trials[0].config
    usable = [trial for trial in trials if trial.measurement.status is Status.CORRECT]
    statuses = {status.value: sum(t.measurement.status is status for t in trials) for status in Status}
    result = Result(task, len(trials), statuses, default, default_seconds=1e-3, wall_seconds=6.0)
    if promoted is None:
        store.finish_task(campaign, task, result.to_json(), None)
        return
    best = min(usable, key=lambda trial: _ratio(trial.config)).config
    ratio = _ratio(best) if promoted else 1.0
    evidence = Evidence(
        default=default,
        default_seconds=1e-3,
        config_seconds=ratio * 1e-3,
        speedup=1 / ratio,
        interval=(0.98 / ratio, 1.02 / ratio),
        confidence=0.99,
        threshold=1.0,
        rounds=150,
        seed=1,
        samples=_samples(ratio, 150, rng),
        resources={},
        environment={"compiler": "<g++>"},
        measured_at="2025-01-01T00:00:00+00:00",
        estimate=1.1 / ratio,
        sign_p=1e-9,
    )
    kept = {
        **result.to_json(),
        "promoted": promoted,
        "config": dict(best if promoted else default),
        "best_seconds": evidence.config_seconds,
        "speedup": evidence.speedup,
        "speedup_interval": list(evidence.interval),
    }
    if promoted:
        store.finish_task(campaign, task, kept, Winner(task, best, evidence, State.PROMOTED, campaign))
    else:
        final = {"config": dict(best), "evidence": evidence.to_json()}
        store.finish_task(campaign, task, {**kept, "final": final}, None)
