"""`engine:torch` on a GPU: every mode that is written for one, beside the default, and a campaign for each model.

A mode is a change of the default, or of it in 16 bits: precisions, backends of attention, compilation, CUDA graphs,
weights of 8 bits. Each is started, its answers are compared with the float32 module's, and its windows are served in
turns with the default's. The campaigns have the same default, and finals like any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.gpu.campaigns import agent_here
from benchmarks.gpu.step import Run, table
from tuner.campaign import Campaign, task_of
from tuner.db import MemoryStore
from tuner.devices import detect
from tuner.engines.module.tunable import ModuleTunable
from tuner.errors import TunerError
from tuner.finals import Finals
from tuner.metric import samples_of
from tuner.plan import Budget, Plan
from tuner.result import Result
from tuner.statistics import median, paired_ratio
from tuner.tunable import load
from tuner.types import Build, Config, Measurement, Sampling, Scalar, Status, Task, Trial

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
# Shares of the time that is left: of a model's modes, and of its search, for which its finals need as much again.
_MODES_SHARE = 0.22
_SEARCH_SECONDS = 35.0
_LEAST_SECONDS = 60.0
_QUALITY = ("rel_error", "kl_logits", "kl_logits_max", "top1_agreement")


def engine(run: Run) -> dict[str, Any]:
    """Return for each model how every mode did, and what its campaign found; `wrong` names modes that failed."""
    models: list[dict[str, Any]] = []
    workloads = [{**one, "items": 64, "batch": 8} if run.quick else one for one in WORKLOADS]
    for fields in workloads:
        found: dict[str, Any] = {**fields, "modes": []}
        models.append(found)
        task = task_of("engine:torch", fields, detect("cuda"))
        for mode in _modes(run, task, seconds=_MODES_SHARE * run.left):
            found["modes"].append(mode)
            run.keep("engine", {"models": models})
        table(["mode", "status", "default / mode", "KL", "rel. error", "J/token, ratio", "start, s"], _rows(found))
    for fields, found in zip(workloads, models, strict=True):
        if run.left < _LEAST_SECONDS:
            print("out of time", flush=True)
            break
        found["campaign"] = _campaign(run, task_of("engine:torch", fields, detect("cuda")))
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


def _modes(run: Run, task: Task, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield how each mode of the model did, for about so many seconds."""
    tunable = load(task.tunable)
    assert isinstance(tunable, ModuleTunable), task.tunable
    space = tunable.search_space(task.workload, task.device)
    default = tunable.default(task.workload, task.device)
    sampling = Sampling(run.seed, 2 if run.quick else _ROUNDS, seconds=5.0)
    until = run.left - seconds
    try:
        for changes in MODES[task.workload.text("model")]:
            if run.left < until:
                print("no time for more modes", flush=True)
                break
            config = Config({**default, **changes})
            if broken := space.violated(config):
                raise TunerError(f"the mode {dict(changes)} is not in the space: {broken}")
            builds = [Build(default, None), Build(config, None)]
            reference, measured = tunable.measure(builds, task.workload, sampling)
            if reference.status is not Status.CORRECT:
                raise TunerError(f"the default failed: {reference.error}")
            yield {"mode": _words(changes), **_told(measured, run.seed)}
    finally:
        tunable.close()


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
