"""The page: one HTML file that loads nothing, readable in light and dark, on paper and on a phone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tuner.phrase import limit_text, objective_text
from tuner.report.advice import advice
from tuner.report.chart import charts, rows
from tuner.report.command import best_command, campaign_yaml, tune_command
from tuner.report.condition import conditions
from tuner.report.data import Importance, Outcome, Report, TaskReport
from tuner.report.document import document
from tuner.report.drawing import Chart
from tuner.report.importance import importance
from tuner.report.palette import PAGE
from tuner.report.verdict import details, headline, interval_text
from tuner.text import config_text, scalar_text, seconds_text, value_text, workload_text
from tuner.types import Config, Status

__all__ = ["judge", "render"]

_FORMS: Mapping[str, Callable[..., str]] = {
    "interval": interval_text,
    "scalar": scalar_text,
    "seconds": seconds_text,
    "value": lambda value, metric: value_text(metric, value),
    "workload": workload_text,
}


@dataclass(frozen=True, slots=True)
class _View:
    """A task as the template sees it."""

    place: int
    report: TaskReport
    importance: Importance
    headline: str
    details: Sequence[str]
    advice: Sequence[str]
    conditions: Sequence[tuple[str, str]]
    charts: Mapping[str, Chart]
    slices: Sequence[Chart]
    fronts: Sequence[Chart]
    front: Sequence[tuple[bool, int, Sequence[str], str]]
    parameters: Sequence[tuple[str, str, str]]
    commands: Sequence[str]


def judge(report: Report) -> list[Importance]:
    """Return the importance of the parameters of each task; it takes a second or so for a thousand trials."""
    return [
        importance(task.parameters, [trial.config for trial, _ in task.usable], task.logs, seed=report.plan.seed)
        for task in report.tasks
    ]


def render(report: Report, importances: Sequence[Importance], *, store: str | None = None) -> str:
    """Return the page.

    Args:
        report: What it says.
        importances: Those of the tasks' parameters, from `judge`.
        store: What the commands on it are given as `--store`.
    """
    views = [
        _view(report, place, task, judged, store)
        for place, (task, judged) in enumerate(zip(report.tasks, importances, strict=True), start=1)
    ]
    return document(
        "page.html",
        [(rows(view.report, view.importance), view.charts) for view in views],
        forms=_FORMS,
        report=report,
        plan=_plan_facts(report),
        views=views,
        devices=_devices(report),
        yaml=campaign_yaml(report),
        Outcome=Outcome,
        Status=Status,
    )


def _view(report: Report, place: int, task: TaskReport, judged: Importance, store: str | None) -> _View:
    drawn = {chart.name: chart for chart in charts(task, judged, PAGE)}
    commands = [tune_command(report, task, store), best_command(task.task, store)]
    return _View(
        place=place,
        report=task,
        importance=judged,
        headline=headline(task),
        details=details(task),
        advice=advice(report, task, judged),
        conditions=conditions(task),
        charts=drawn,
        slices=[chart for name, chart in drawn.items() if name.startswith("slice-")],
        fronts=[chart for name, chart in drawn.items() if name.startswith("front-")],
        front=_front_table(task),
        parameters=_config_rows(task.default, task.config),
        commands=[command for command in commands if command],
    )


def _front_table(task: TaskReport) -> list[tuple[bool, int, Sequence[str], str]]:
    """Return the front: whether it was chosen, the trial, the value of each objective, and the config."""
    every = task.objective.every
    return [
        (
            trial.config == task.config,
            trial.number,
            [value_text(one.metric, one.value(trial.measurement)) for one in every],
            config_text(trial.config),
        )
        for trial in task.front
    ]


def _config_rows(default: Config | None, chosen: Config | None) -> list[tuple[str, str, str]]:
    """Return each parameter with its value in the default and in the config of the final."""
    names = dict.fromkeys([*(default or {}), *(chosen or {})])
    return [(name, _value(default, name), _value(chosen, name)) for name in names]


def _value(config: Config | None, name: str) -> str:
    return scalar_text(config[name]) if config is not None and name in config else "-"


def _plan_facts(report: Report) -> list[tuple[str, str]]:
    plan = report.plan
    finals = plan.finals
    trials = f"{plan.budget.trials} trials"
    if report.shared:
        trials += f" in the mean, {plan.budget.trials * len(report.tasks)} shared by expected gain times use"
    facts = [
        ("agent", plan.agent),
        ("budget of a task", trials),
        ("seed", str(plan.seed)),
        ("trials in flight", str(plan.in_flight or "as many as the runner takes")),
        (
            "finals",
            f"the best {finals.finalists} over at most {finals.semifinal_rounds} rounds, then the best one over at "
            f"most {finals.rounds}, until ratios are known to {finals.precision:.3g}; promoted above "
            f"{finals.threshold:g} at {finals.confidence:g} confidence",
        ),
    ]
    if plan.budget.seconds is not None:
        facts.append(("longest search", f"{plan.budget.seconds:g} s"))
    if plan.budget.patience:
        facts.append(("patience", f"a task rests while ten more trials promise less than {plan.budget.patience:.3g}"))
    if len(report.tasks) > 1:
        facts.append(("schedule", plan.schedule.value))
    facts += [("objective", objective_text(replace(one, limits=()))) for one in plan.objective.every]
    if plan.objective.beside:
        facts.append(("pick", plan.pick))
    facts += [("limit", limit_text(limit)) for limit in plan.objective.every[0].limits]
    return facts


def _devices(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return each device once, with what is known of it and of its tools."""
    devices = {
        (task.task.device.fingerprint, task.task.device.environment_fingerprint): task.task.device
        for task in report.tasks
    }
    return [
        (
            f"{device.name} ({device.kind}, {device.arch})",
            [
                (name, scalar_text(value))
                for name, value in {"count": device.count, **device.features, **device.environment}.items()
            ],
        )
        for device in devices.values()
    ]
