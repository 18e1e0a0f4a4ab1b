"""Tuning in place: on the arguments of a call, in this process, while the caller waits. For development only.

A campaign measures in processes of its own, on fresh inputs, and checks against a reference. Here there is nothing but
a function and its arguments; so what a config returns, and leaves in the tensors and arrays that it is given, is
compared with what the default does on the same contents, and the winner is proven in new pairs, interleaved with the
default. Afterwards the arguments hold what they held before.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tuner.db import CampaignState, Store
from tuner.decorator.contents import Contents, equal
from tuner.decorator.timing import Clock, Timing
from tuner.decorator.tuned import TunedFunction, TunedKernel
from tuner.devices import detect
from tuner.errors import TunerError
from tuner.finals import Verdict
from tuner.lookup import Choice, Proof, Source
from tuner.objective import Objective
from tuner.picking import keep
from tuner.plan import Budget, Plan
from tuner.reference import import_reference
from tuner.result import Result
from tuner.statistics import log_ratios, median, median_interval
from tuner.types import (
    Cache,
    Config,
    Device,
    Evidence,
    GraphMode,
    Measurement,
    Scalar,
    Status,
    Task,
    Trial,
    Winner,
    Workload,
)

__all__ = ["gpu_clock", "tune_here", "wall_seconds"]

# SQLAlchemy is needed where a store has to be opened only.
_OPEN_STORE = "tuner.db.sql:open_store"

_ROUNDS = 5
"""Pairs of each config in the search."""
_FINALISTS = 3
_SEMIFINAL_ROUNDS = 15
_FINAL_ROUNDS = 60
_CONFIDENCE = 0.99
_SHORTEST_SECONDS = 2e-4
"""A sample takes at least so long; what is quicker is called several times."""


def tune_here(
    tuned: TunedFunction | TunedKernel,
    fields: Mapping[str, Scalar],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    where: Any,
) -> Choice:
    """Search the configs of a decorated function on these arguments, store a winner that is proven, and return it.

    Raises:
        TunerError: there is no device to measure on, or the default itself fails.
    """
    setting = tuned.setting
    clock = tuned.clock()
    device = detect(setting.lookup.device.kind) if setting.lookup.device.kind == "cpu" else setting.lookup.device
    task = Task(setting.name, setting.choices.version or "", Workload(fields), device)
    bench = _Bench(tuned, args, kwargs, clock)
    configs = _candidates(tuned, args, kwargs)
    trials = [bench.trial(number, config) for number, config in enumerate(configs)]
    verdict = _finals(bench, trials, device)
    opened = not hasattr(where, "winners")
    open_store: Any = import_reference(_OPEN_STORE) if opened else None
    store: Store = open_store(where) if opened else where
    try:
        winner = _kept(store, task, setting.choices.first, trials, verdict, setting.trials)
    finally:
        if opened:
            store.close()
        bench.restore()
        setting.hooks.reset(tuned.arguments(args, kwargs, setting.choices.first if winner is None else winner.config))
    if winner is None:
        return Choice(setting.choices.first, Source.DEFAULT)
    return Choice(winner.config, Source.EXACT, Proof.of(winner), 0.0)


def wall_seconds(call: Callable[[], Any]) -> float:
    """Return how long `call` takes by the wall clock, a mean over so many calls that the clock is fine enough."""
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        spent = time.perf_counter() - start
        if spent >= _SHORTEST_SECONDS:
            return spent / calls
        calls = max(2 * calls, math.ceil(1.2 * calls * _SHORTEST_SECONDS / max(spent, 1e-9)))


def gpu_clock(name: str, timing: Timing) -> Clock:
    """Return what times a launch on the GPU.

    Raises:
        TunerError: there is none.
    """
    try:
        testing = importlib.import_module("triton.testing")
        torch = importlib.import_module("torch")
        present = torch.cuda.is_available()
    except ImportError:
        present = False
    if not present:
        raise TunerError(f"mode='tune' of {name} needs a GPU, and there is none here; use mode='lookup' or 'off'")

    def seconds(call: Callable[[], Any]) -> float:
        if timing.use_cuda_graph:
            return 1e-3 * float(testing.do_bench_cudagraph(call, rep=timing.rep, return_mode="median"))
        return 1e-3 * float(testing.do_bench(call, warmup=timing.warmup, rep=timing.rep, return_mode="median"))

    return seconds


class _Bench:
    """Runs and times a function on the arguments of one call, beside its default."""

    def __init__(
        self, tuned: TunedFunction | TunedKernel, args: Sequence[Any], kwargs: Mapping[str, Any], clock: Clock
    ) -> None:
        self._tuned, self._args, self._kwargs, self._clock = tuned, args, kwargs, clock
        self.default = tuned.setting.choices.first
        self._contents = Contents.of([*args, *kwargs.values()])
        try:
            self._expected = self._outcome(self.default)
        except Exception as error:
            raise TunerError(f"{tuned.setting.name} fails with its default {self.default}: {error}") from error

    @property
    def conditions(self) -> Mapping[str, Scalar]:
        """What is known of how calls are timed: Triton's benchmark empties the cache, unless it times a graph."""
        timing = self._tuned.setting.timing
        if isinstance(self._tuned, TunedFunction) or timing.do_bench is not None:
            return {}
        if timing.use_cuda_graph:
            return {"graph": GraphMode.AROUND.value, "cache": Cache.WARM.value}
        return {"graph": GraphMode.NONE.value, "cache": Cache.COLD.value}

    def restore(self) -> None:
        """Give the arguments the contents that they came with."""
        self._contents.restore()

    def trial(self, number: int, config: Config) -> Trial:
        """Check a config and time it beside the default; a failure is a status."""
        try:
            what = self._differs(self._outcome(config))
            samples = {} if what else self.pairs(config, _ROUNDS)
        except Exception as error:
            return Trial(config, Measurement(Status.RUNTIME, error=f"{type(error).__name__}: {error}"), number=number)
        if what:
            return Trial(config, Measurement(Status.CORRECTNESS, error=what), number=number)
        return Trial(config, Measurement(Status.CORRECT, samples), number=number)

    def pairs(self, config: Config, rounds: int) -> dict[str, tuple[float, ...]]:
        """Return samples of a config and of the default, taken in turns."""
        default = Config(self.default)  # an object of its own, so that the default may be compared with itself
        own: list[float] = []
        reference: list[float] = []
        for turn in range(rounds):
            # Who is first alternates: what slows a machine down for a moment slows both down.
            for one in (config, default) if turn % 2 else (default, config):
                seconds = self._clock(functools.partial(self._call, one))
                (own if one is config else reference).append(seconds)
        return {"seconds": tuple(own), "reference_seconds": tuple(reference)}

    def _call(self, config: Config) -> Any:
        tuned = self._tuned
        with tuned.setting.hooks.around(tuned.arguments(self._args, self._kwargs, config)):
            return tuned.call(self._args, self._kwargs, config)

    def _outcome(self, config: Config) -> tuple[Any, Sequence[Any]]:
        """Return what a call returns, and copies of what it leaves in its arguments, as they came to it."""
        tuned = self._tuned
        self._contents.restore()
        with tuned.setting.hooks.around(tuned.arguments(self._args, self._kwargs, config)):
            returned = tuned.call(self._args, self._kwargs, config)
            return returned, self._contents.now()

    def _differs(self, outcome: tuple[Any, Sequence[Any]]) -> str:
        """Return what of an outcome is not as good as the default's; empty if nothing."""
        same = self._tuned.setting.same or equal
        if not same(outcome[0], self._expected[0]):
            return "returns another result"
        pairs = zip(outcome[1], self._expected[1], strict=True)
        return "" if all(same(ours, theirs) for ours, theirs in pairs) else "leaves another result in its arguments"


def _candidates(tuned: TunedFunction | TunedKernel, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Config]:
    """Return the default, and others at random, as many as may be measured."""
    setting = tuned.setting
    default = setting.choices.first
    others = [config for config in itertools.islice(setting.choices.iterate(), 100_000) if config != default]
    if setting.pruning is None:
        random.Random(0).shuffle(others)
    else:
        given = setting.choices.given or [default, *others]
        # As Triton tells them of a launch.
        keywords = {**kwargs, "warmup": False} if isinstance(tuned, TunedKernel) else kwargs
        kept = setting.pruning.kept(given, tuned.named(args), keywords)
        others = [config for config in kept if config != default]
        if setting.pruning.perf_model is None:
            random.Random(0).shuffle(others)
    return [default, *others[: max(0, setting.trials - 1)]]


def _finals(bench: _Bench, trials: Sequence[Trial], device: Device) -> Verdict:
    """Time the best again in new pairs, and say of the best of them whether it is faster than the default."""
    start = time.perf_counter()
    right = [trial for trial in trials if trial.measurement.status is Status.CORRECT and trial.config != bench.default]
    ranked = sorted(right, key=lambda trial: _ratio(trial.measurement.samples))[:_FINALISTS]
    if not ranked:
        return Verdict(None, None, promoted=False, device_seconds=0.0)
    again = {trial.config: _ratio(bench.pairs(trial.config, _SEMIFINAL_ROUNDS)) for trial in ranked}
    config = min(again, key=again.__getitem__)
    samples = bench.pairs(config, _FINAL_ROUNDS)
    logs = _logs(samples)
    interval = median_interval(logs, 1 - _CONFIDENCE)
    low, high = math.exp(interval.low), math.exp(interval.high)
    estimate = next(1 / _ratio(trial.measurement.samples) for trial in ranked if trial.config == config)
    evidence = Evidence(
        default=bench.default,
        default_seconds=median(samples["reference_seconds"]),
        config_seconds=median(samples["seconds"]),
        speedup=math.exp(median(logs)),
        interval=(low, high),
        confidence=_CONFIDENCE,
        threshold=1.0,
        rounds=_FINAL_ROUNDS,
        seed=0,
        samples=samples,
        resources={"in_place": True, **bench.conditions},
        environment=dict(device.environment),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        estimate=estimate,
    )
    return Verdict(config, evidence, promoted=low > 1.0, device_seconds=time.perf_counter() - start)


def _kept(
    store: Store, task: Task, default: Config, trials: Sequence[Trial], verdict: Verdict, budget: int
) -> Winner | None:
    """Keep the trials and the winner as a campaign of one task; None where the default is kept."""
    plan = Plan(agent="random", budget=Budget(budget))
    campaign = store.create_campaign(plan.to_json(), [task])
    for trial in trials:
        store.add_trial(task, Trial(trial.config, trial.measurement, campaign, trial.number))
    result = keep(store, campaign, Result.of(task, default, trials, verdict, Objective()), verdict, default)
    store.set_campaign_state(campaign, CampaignState.FINISHED)
    return result.winner if result.promoted else None


def _logs(samples: Mapping[str, Sequence[float]]) -> list[float]:
    logs: list[float] = log_ratios(samples["reference_seconds"], samples["seconds"]).tolist()
    return logs


def _ratio(samples: Mapping[str, Sequence[float]]) -> float:
    """Return the time of a config over the default's."""
    return math.exp(-median(_logs(samples)))
