"""The commands that repeat what a report shows."""

from __future__ import annotations

import shlex
from dataclasses import asdict

import yaml

from tuner.finals import Finals
from tuner.plan import Budget, Plan
from tuner.report.data import Report
from tuner.text import scalar_text
from tuner.types import Device, Task

__all__ = ["best_command", "campaign_yaml", "tune_command"]


_DEFAULT_DEVICE = "cpu"


def best_command(task: Task, store: str | None) -> str:
    """Return the command that looks up the best config of `task`."""
    return shlex.join(["tuner", "best", *_task_words(task), *_store_words(store)])


def tune_command(task: Task, plan: Plan, store: str | None) -> str | None:
    """Return the command that tunes `task` again by `plan`; None where only a specification can say it."""
    if plan.finals != Finals(threshold=plan.finals.threshold) or plan.objective.limits:
        return None
    words = ["tuner", "tune", *_task_words(task), "--agent", plan.agent, "--trials", str(plan.budget.trials)]
    if plan.budget.seconds is not None:
        words += ["--seconds", f"{plan.budget.seconds:g}"]
    words += ["--seed", str(plan.seed)]
    if plan.finals.threshold != Finals().threshold:
        words += ["--threshold", f"{plan.finals.threshold:g}"]
    return shlex.join([*words, *_store_words(store)])


def campaign_yaml(report: Report) -> str:
    """Return the specification of the whole campaign, for `tuner campaign run`."""
    plan = report.plan
    tasks: dict[str, list[dict[str, object]]] = {}
    for one in report.tasks:
        tasks.setdefault(one.task.tunable, []).append(dict(one.task.workload))
    spec: dict[str, object] = {"agent": plan.agent, "seed": plan.seed}
    devices = list(dict.fromkeys(_device_text(one.task.device) for one in report.tasks))
    if devices != [_DEFAULT_DEVICE]:
        spec["device"] = ", ".join(devices)
    budget = {name: value for name, value in asdict(plan.budget).items() if value != getattr(Budget(), name)}
    finals = {name: value for name, value in asdict(plan.finals).items() if value != getattr(Finals(), name)}
    spec["budget"] = {"trials": plan.budget.trials, **budget}
    if finals:
        spec["finals"] = finals
    spec["tasks"] = [{"kernel": kernel, "workloads": workloads} for kernel, workloads in tasks.items()]
    text: str = yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=100)
    return text


def _task_words(task: Task) -> list[str]:
    words = [task.tunable]
    for name, value in task.workload.items():
        words += ["-w", f"{name}={scalar_text(value)}"]
    device = _device_text(task.device)
    return words if device == _DEFAULT_DEVICE else [*words, "--device", device]


def _device_text(device: Device) -> str:
    return device.kind if device.count == 1 else f"{device.kind}:{device.count}"


def _store_words(store: str | None) -> list[str]:
    return ["--store", store] if store else []
