"""The charts as PNG files, drawn without a browser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tuner.report.chart import charts, rows
from tuner.report.data import Importance, Report, TaskReport
from tuner.report.drawing import Chart, png_of
from tuner.report.library import altair as alt
from tuner.report.palette import LIGHT
from tuner.text import scalar_text

__all__ = ["write_pictures"]

_WIDTH = 720
_SLICE_WIDTH = 200
_SLICES_A_ROW = 3


def write_pictures(report: Report, importances: Sequence[Importance], folder: Path) -> list[Path]:
    """Write each task's charts into `folder`, which is made if need be, and return the files.

    They are named `<task's place>-<kernel>-<chart>.png`; the slices of a task are one picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for place, (task, importance) in enumerate(zip(report.tasks, importances, strict=True), start=1):
        kernel = re.sub(r"[^A-Za-z0-9_]+", "-", task.task.tunable.rpartition(":")[2]).strip("-")
        for name, picture in _pictures(task, importance).items():
            file = folder / f"{place}-{kernel}-{name}.png"
            file.write_bytes(picture)
            files.append(file)
    return files


def _pictures(task: TaskReport, importance: Importance) -> dict[str, bytes]:
    tables = rows(task, importance)
    drawn = charts(task, importance, LIGHT)
    slices = [chart for chart in drawn if chart.name.startswith("slice-")]
    heading = f"{task.task.tunable}  {'  '.join(f'{n}={scalar_text(v)}' for n, v in task.task.workload.items())}"
    pictures = {
        chart.name: png_of(
            chart.spec.properties(width=_WIDTH, title=alt.TitleParams(chart.title, subtitle=heading)), tables
        )
        for chart in drawn
        if chart not in slices
    }
    if slices:
        pictures["slices"] = png_of(_together(slices, heading), tables)
    return pictures


def _together(slices: Sequence[Chart], heading: str) -> alt.ConcatChart:
    chart: alt.ConcatChart = alt.concat(
        *(chart.spec.properties(width=_SLICE_WIDTH) for chart in slices),
        columns=_SLICES_A_ROW,
        title=alt.TitleParams("Time against each parameter's values", subtitle=heading),
    ).resolve_scale(color="independent", shape="independent", xOffset="independent")
    return chart
