"""`tuner report`: a campaign as one page, and as pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.options import AsJson, StoreUrl
from tuner.cli.output import Output
from tuner.cli.roofline import work_of
from tuner.cli.session import store_of
from tuner.db import Store
from tuner.errors import TunerError
from tuner.report.data import Importance, Report, Roof, TaskReport, gather
from tuner.report.library import require_all
from tuner.report.page import judge, render
from tuner.report.picture import write_pictures
from tuner.report.verdict import headline
from tuner.roofline import level_of
from tuner.types import Task, is_cold

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    campaign: Annotated[str, typer.Argument(help="A campaign's identifier, or an unambiguous beginning of it.")],
    out: Annotated[Path | None, typer.Option(help="The page; CAMPAIGN.html in this folder unless given.")] = None,
    png: Annotated[Path | None, typer.Option(help="A folder for the charts as pictures.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write a campaign, finished or not, as one HTML page that loads nothing."""
    output = Output(as_json=as_json)
    require_all()
    with store_of(store) as opened:
        roofs = {task.key: _roof(opened, task) for task in opened.tasks(opened.campaign(campaign).id)}
        gathered = gather(opened, campaign, roofs={key: roof for key, roof in roofs.items() if roof})
    importances = judge(gathered)
    file = out or Path(f"{gathered.campaign.id}.html")
    try:
        file.write_text(render(gathered, importances, store=store), encoding="utf-8")
        pictures = write_pictures(gathered, importances, png) if png else []
    except OSError as error:
        raise TunerError(f"cannot write {error.filename or file}: {error.strerror}") from error
    for task in gathered.tasks:
        output.say(f"{task.task.tunable}: {headline(task)}")
    for written in (file, *pictures):
        output.say(f"  {written}")
    output.emit(_figures(gathered, importances, file, pictures))


def _roof(store: Store, task: Task) -> Roof | None:
    """Return the device's peaks beside the task's work; None where either is not known, or the work is nothing."""
    measured, work = store.peaks(task.device), work_of(task)
    peaks = measured.of(str(task.workload.get("dtype", "fp32"))) if measured else None
    if peaks is None or work is None or not (work.flops > 0 and work.bytes > 0):
        return None
    level = level_of(work, peaks, cold=is_cold(task.workload))
    return Roof(work, peaks.flops_per_second, {one.name: one.bytes_per_second for one in peaks.levels}, level.name)


def _figures(report: Report, importances: list[Importance], page: Path, pictures: list[Path]) -> dict[str, object]:
    return {
        "campaign": report.campaign.id,
        "state": report.campaign.state.value,
        "page": str(page),
        "pictures": [str(picture) for picture in pictures],
        "tasks": [_task_figures(task, judged) for task, judged in zip(report.tasks, importances, strict=True)],
    }


def _task_figures(task: TaskReport, importance: Importance) -> dict[str, object]:
    final = task.final
    return {
        "kernel": task.task.tunable,
        "workload": json.loads(task.task.workload.json),
        "outcome": task.outcome.value,
        "headline": headline(task),
        "trials": len(task.trials),
        "failures": {failure.mark: failure.count for failure in task.failures},
        "config": json.loads(task.config.json) if task.config else None,
        "speedup": final.speedup if final else None,
        "speedup_interval": list(final.interval) if final and math.isfinite(final.interval[1]) else None,
        "estimate": final.estimate if final else None,
        "importance": {share.parameter: share.value for share in importance.shares},
        "importance_explained": importance.explained,
        "importance_caution": importance.caution,
    }
