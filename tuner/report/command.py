"""The commands that repeat what a report shows."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from itertools import groupby

import yaml

from tuner.finals import Finals
from tuner.objective import Objective
from tuner.phrase import limit_text, objective_text
from tuner.plan import Budget, Plan
from tuner.report.data import Report, TaskReport
from tuner.text import scalar_text
from tuner.types import Device, Task

__all__ = ["best_command", "campaign_yaml", "tune_command"]


_DEFAULT_DEVICE = "cpu"


def best_command(task: Task, store: str | None) -> str:
    """Return the command that looks up the best config of `task`."""
    return shlex.join(["tuner", "best", *_task_words(task), *_store_words(store)])


def tune_command(report: Report, one: TaskReport, store: str | None) -> str | None:
    """Return the command that tunes a task again, alone; None where only a specification can say it.

    Of a budget that was shared, the task takes the trials that it had.
    """
    plan = report.plan
    if plan.finals != Finals(finalists=plan.finals.finalists, threshold=plan.finals.threshold):
        return None
    trials = len(one.trials) if report.shared and one.result else plan.budget.trials
    words = ["tuner", "tune", *_task_words(one.task), "--agent", plan.agent, "--trials", str(trials)]
    if plan.budget.seconds is not None:
        words += ["--seconds", f"{plan.budget.seconds:g}"]
    if plan.budget.patience:
        words += ["--patience", f"{plan.budget.patience:g}"]
    if not plan.prior:
        words += ["--no-prior"]
    words += ["--seed", str(plan.seed)]
    if plan.finals.threshold != Finals().threshold:
        words += ["--threshold", f"{plan.finals.threshold:g}"]
    if plan.finals.finalists != Finals().finalists:
        words += ["--finalists", str(plan.finals.finalists)]
    words += _objective_words(plan)
    return shlex.join([*words, *_store_words(store)])


def campaign_yaml(report: Report) -> str:
    """Return the specification of the whole campaign, for `tuner campaign run`."""
    plan = report.plan
    spec: dict[str, object] = {"agent": plan.agent, "prior": plan.prior, "seed": plan.seed}
    devices = list(dict.fromkeys(_device_text(one.task.device) for one in report.tasks))
    if devices != [_DEFAULT_DEVICE]:
        spec["device"] = ", ".join(devices)
    if plan.in_flight is not None:
        # It decides what the agent knew at each proposal, and another runner may have another capacity.
        spec["in_flight"] = plan.in_flight
    budget = {name: value for name, value in asdict(plan.budget).items() if value != getattr(Budget(), name)}
    finals = {name: value for name, value in asdict(plan.finals).items() if value != getattr(Finals(), name)}
    spec["budget"] = {"trials": plan.budget.trials, **budget}
    if plan.schedule is not Plan().schedule:
        spec["schedule"] = plan.schedule.value
    if finals:
        spec["finals"] = finals
    spec |= _objective_spec(plan)
    spec["tasks"] = _task_entries(report)
    text: str = yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=100)
    return text


def _objective_words(plan: Plan) -> list[str]:
    """Return the options that say what is optimised, as far as it is not the time of a call."""
    objective = plan.objective
    if not _is_special(objective):
        return [word for limit in objective.limits for word in ("--limit", limit_text(limit))]
    words = [word for one in (objective, *objective.beside) for word in ("--objective", objective_text(one))]
    if objective.price_per_hour is not None:
        words += ["--price-per-hour", f"{objective.price_per_hour:g}"]
    return [*words, "--pick", plan.pick] if objective.beside else words


def _objective_spec(plan: Plan) -> dict[str, object]:
    """Return the entries of a specification that say what is optimised."""
    objective = plan.objective
    if not _is_special(objective):
        return {"limits": [limit_text(limit) for limit in objective.limits]} if objective.limits else {}
    texts = [objective_text(one) for one in (objective, *objective.beside)]
    spec: dict[str, object] = {"objective": texts if objective.beside else texts[0]}
    if objective.price_per_hour is not None:
        spec["price_per_hour"] = objective.price_per_hour
    return {**spec, "pick": plan.pick} if objective.beside else spec


def _is_special(objective: Objective) -> bool:
    return replace(objective, limits=()) != Objective()


def _task_entries(report: Report) -> list[dict[str, object]]:
    """Return the tasks in their order, which decides their agents' seeds, those alike in kernel and use together."""
    uses = report.plan.uses or (1.0,) * len(report.tasks)
    entries = []
    for (kernel, use), group in groupby(
        zip(report.tasks, uses, strict=True), key=lambda pair: (pair[0].task.tunable, pair[1])
    ):
        entry: dict[str, object] = {"kernel": kernel}
        if use != 1:
            entry["use"] = use
        entries.append({**entry, "workloads": [dict(one.task.workload) for one, _ in group]})
    return entries


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
