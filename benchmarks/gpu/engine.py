"""`engine:torch` on a GPU: every mode that is written for one, beside the default, and a campaign for each model.

A mode is a change of the default, or of it in 16 bits: precisions, backends of attention, compilation, CUDA graphs,
weights of 8 bits. They are started all at once, since starts and compilations need the CPU; then, one after the other,
the answers of each are compared with the float32 module's, and its windows are served in turns with the default's. The
campaigns have the same default, and finals like any.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from benchmarks.gpu.campaigns import agent_here
from benchmarks.gpu.step import Run, table
from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.devices import detect
from tuner.engines import Engine, EngineError, QualityError, Window
from tuner.engines.base import joined
from tuner.engines.module.tunable import ModuleTunable
from tuner.errors import TunerError
from tuner.finals import Finals
from tuner.metric import samples_of
from tuner.plan import Budget, Plan
from tuner.result import Result
from tuner.statistics import median, paired_ratio
from tuner.tunable import load
from tuner.types import Config, Measurement, Scalar, Status, Task, Trial

__all__ = ["MODES", "WORKLOADS", "engine"]

WORKLOADS: Sequence[Mapping[str, Scalar]] = (
    {"model": "decoder-30m", "items": 1024, "batch": 32},
    {"model": "image-classifier", "items": 1024, "batch": 32},
)

MODES: Mapping[str, Sequence[Mapping[str, Scalar]]] = {
    "decoder-30m": (
        {"DTYPE": "tf32"},
        {"DTYPE": "bf16"},
        {"DTYPE": "fp16"},
        {"CUDA_GRAPHS": True},
        {"DTYPE": "bf16", "CUDA_GRAPHS": True},
        {"DTYPE": "bf16", "SDPA": "math"},
        {"DTYPE": "bf16", "SDPA": "flash"},
        {"DTYPE": "bf16", "SDPA": "efficient"},
        {"DTYPE": "bf16", "SDPA": "cudnn"},
        {"DTYPE": "bf16", "COMPILE": "default"},
        {"DTYPE": "bf16", "COMPILE": "graphs"},
        {"DTYPE": "bf16", "COMPILE": "default", "CUDA_GRAPHS": True},
        {"DTYPE": "bf16", "COMPILE": "default", "QUANTIZE": "weight_int8"},
        {"DTYPE": "bf16", "COMPILE": "max-autotune"},
    ),
    "image-classifier": (
        {"DTYPE": "fp16"},
        {"DTYPE": "fp16", "CHANNELS_LAST": True},
        {"DTYPE": "fp16", "CHANNELS_LAST": True, "CUDA_GRAPHS": True},
        {"DTYPE": "fp16", "CHANNELS_LAST": True, "COMPILE": "default"},
        {"DTYPE": "fp16", "COMPILE": "graphs"},
    ),
}
"""Changes of the default by model, the cheapest to start first, since a run may be out of time."""

_ROUNDS = 6
_TRIALS = 12
# Of the time that is left, what the modes of all models may take; and what a search may, its finals not counted.
_MODES_SHARE = 0.45
_MODES_SECONDS = 150.0
_SEARCH_SECONDS = 35.0
_LEAST_SECONDS = 60.0
_QUALITY = ("rel_error", "kl_logits", "kl_logits_max", "top1_agreement")


def engine(run: Run) -> dict[str, Any]:
    """Return for each model how every mode did, and what its campaign found; `wrong` names modes that failed."""
    workloads = [{**one, "items": 64, "batch": 8} if run.quick else one for one in WORKLOADS]
    tasks = [task_of("engine:torch", fields, detect("cuda")) for fields in workloads]
    models: list[dict[str, Any]] = [{**fields, "modes": []} for fields in workloads]
    until = time.monotonic() + min(_MODES_SECONDS, _MODES_SHARE * run.left)
    for task, found in zip(tasks, models, strict=True):
        with ExitStack() as stack:
            for mode in _modes(run, task, until, stack):
                found["modes"].append(mode)
                run.keep("engine", {"models": models})
        table(["mode", "status", "default / mode", "KL", "rel. error", "energy, ratio", "start, s"], _rows(found))
    for task, found in zip(tasks, models, strict=True):
        if run.left < _LEAST_SECONDS:
            print("out of time", flush=True)
            break
        found["campaign"] = _campaign(run, task)
        print(_line(found["campaign"]), flush=True)
        run.keep("engine", {"models": models})
    wrong = [
        f"{found['model']}: {mode['mode']}: {mode['error']}"
        for found in models
        for mode in found["modes"]
        if mode["status"] not in (Status.CORRECT, Status.CORRECTNESS)
    ]
    for one in wrong:
        print(f"  failed: {one}", flush=True)
    return {"models": models, "wrong": wrong}


def _modes(run: Run, task: Task, until: float, stack: ExitStack) -> Iterator[dict[str, Any]]:
    """Yield how each mode of a model did; what has not started by `until`, of `time.monotonic`, is late."""
    tunable = load(task.tunable)
    assert isinstance(tunable, ModuleTunable), task.tunable
    space = tunable.search_space(task.workload, task.device)
    default = tunable.default(task.workload, task.device)
    changes = MODES[task.workload.text("model")]
    configs = [default, *(Config({**default, **one}) for one in changes)]
    for config in configs:
        if broken := space.violated(config):
            raise TunerError(f"the mode {config} is not in the space: {broken}")
    pool = stack.enter_context(ThreadPoolExecutor(len(configs)))
    engines = [tunable.create(task.workload) for _ in configs]
    for one in engines:
        # Before the pool ends: what still starts is killed, and its thread returns.
        stack.callback(one.close)
    starts = [pool.submit(_start, one, config) for one, config in zip(engines, configs, strict=True)]
    starts[0].result()
    for change, one, start in zip(changes, engines[1:], starts[1:], strict=True):
        yield {"mode": _words(change), **_told(_measured(run, engines[0], one, start, until), run.seed)}
        one.close()


def _start(engine: Engine, config: Config) -> float:
    started = time.monotonic()
    engine.apply(config)
    return time.monotonic() - started


def _measured(run: Run, default: Engine, engine: Engine, start: Future[float], until: float) -> Measurement:
    """Return the measurement of an engine beside the default, whose windows alternate."""
    resources: dict[str, Scalar] = {}
    try:
        resources["apply_seconds"] = start.result(max(1.0, until - time.monotonic()))
        resources |= engine.check(run.seed)
        found: list[tuple[Mapping[str, tuple[float, ...]], ...]] = []
        for number in range(2 if run.quick else _ROUNDS):
            window = Window(run.seed + number)
            found.append((default.measure(window), engine.measure(window)))
        resources |= engine.resources()
    except TimeoutError:
        return Measurement(Status.TIMEOUT, error="not started in time", resources=resources)
    except QualityError as error:
        return Measurement(Status.CORRECTNESS, error=str(error), resources=resources)
    except EngineError as error:
        return Measurement(Status.RUNTIME, error=str(error), resources=resources)
    theirs, ours = ([pair[side] for pair in found] for side in (0, 1))
    return Measurement(Status.CORRECT, joined(ours, theirs), resources=resources)


def _told(measured: Measurement, seed: int) -> dict[str, Any]:
    """Return what a measurement beside the default says."""
    resources = measured.resources
    found: dict[str, Any] = {
        "status": measured.status.value,
        "error": measured.error,
        **{name: resources.get(name) for name in (*_QUALITY, "apply_seconds", "device_memory_bytes")},
        "items_per_second": None,
        "ratio": None,
        "energy_ratio": None,
        "samples": dict(measured.samples),
    }
    if measured.status is not Status.CORRECT:
        return found
    found["items_per_second"] = median(measured.samples["items_per_second"])
    for name, metric in (("ratio", "seconds"), ("energy_ratio", "joules_per_item")):
        ours, theirs = samples_of(measured, metric), samples_of(measured, metric, reference=True)
        if ours and len(ours) == len(theirs):
            ratio = paired_ratio(theirs, ours, seed=seed)
            found[name] = {"value": ratio.value, "low": ratio.low, "high": ratio.high}
    if per_token := samples_of(measured, "joules_per_token"):
        found["joules_per_token"] = median(per_token)
    return found


def _campaign(run: Run, task: Task) -> dict[str, Any]:
    """Return what a campaign of the model found, with the final's windows."""
    store = MemoryStore()
    runner = run.runner(builders=1)
    finals = Finals(finalists=1)
    seconds = min(_SEARCH_SECONDS, run.left / 4)
    plan = Plan(agent_here(), Budget(2 if run.quick else _TRIALS, seconds), finals=finals, seed=run.seed, in_flight=1)
    try:
        campaign = Campaign([task], plan, runner=runner, store=store)
        [result] = campaign.run()
    finally:
        runner.close()
    return {"agent": plan.agent, **_outcome(run, task, result, store.trials(campaign.id, task))}


def _outcome(run: Run, task: Task, result: Result, trials: Sequence[Trial]) -> dict[str, Any]:
    default = load(task.tunable).default(task.workload, task.device)
    evidence = result.winner.evidence if result.winner else None
    found: dict[str, Any] = {
        "trials": result.trials,
        "statuses": dict(result.statuses),
        "errors": [trial.measurement.error for trial in trials if trial.measurement.error][:6],
        "wall_seconds": result.wall_seconds,
        "busy_share": result.device_seconds / result.wall_seconds,
        "promoted": result.promoted,
        "changes": _words({name: value for name, value in result.config.items() if value != default.get(name)}),
        "speedup": result.speedup,
        "interval": result.speedup_interval,
        "history": [
            {"config": dict(trial.config), "status": trial.measurement.status.value, "error": trial.measurement.error}
            for trial in trials
        ],
    }
    if evidence is not None:
        proof = Measurement(Status.CORRECT, evidence.samples, 0.0, 0.0, evidence.resources)
        found["final"] = _told(proof, run.seed)
    return found


def _rows(found: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            mode["mode"],
            mode["status"],
            _ratio(mode["ratio"]),
            _short(mode["kl_logits"]),
            _short(mode["rel_error"]),
            _ratio(mode["energy_ratio"]),
            _short(mode["apply_seconds"]),
        ]
        for mode in found["modes"]
    ]


def _line(one: Mapping[str, Any]) -> str:
    interval = "[{:.3f}, {:.3f}]".format(*one["interval"]) if one["interval"] else ""
    changes = one["changes"] or "the default is kept"
    return (
        f"  {changes}: {one['speedup'] or 0:.3f} {interval}, promoted {one['promoted']}; "
        f"{one['trials']} trials {one['statuses']} in {one['wall_seconds']:.0f} s, {one['busy_share']:.0%} busy"
    )


def _words(changes: Mapping[str, Scalar]) -> str:
    return " ".join(f"{name}={value}" for name, value in changes.items())


def _ratio(ratio: Mapping[str, float] | None) -> str:
    return f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]" if ratio else "-"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
