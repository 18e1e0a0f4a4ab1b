"""The charts as PNG files, drawn without a browser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner.report.chart import Chart, Rows, charts, config, rows
from tuner.report.data import Importance, Report, TaskReport
from tuner.report.library import altair as alt
from tuner.report.library import vl_convert
from tuner.report.palette import LIGHT
from tuner.text import scalar_text

__all__ = ["write_pictures"]

_WIDTH = 720
_SLICE_WIDTH = 200
_SLICES_A_ROW = 3
_PIXELS_A_POINT = 2.0


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
        chart.name: _png(
            chart.spec.properties(width=_WIDTH, title=alt.TitleParams(chart.title, subtitle=heading)), tables
        )
        for chart in drawn
        if chart not in slices
    }
    if slices:
        pictures["slices"] = _png(_together(slices, heading), tables)
    return pictures


def _together(slices: Sequence[Chart], heading: str) -> alt.ConcatChart:
    chart: alt.ConcatChart = alt.concat(
        *(chart.spec.properties(width=_SLICE_WIDTH) for chart in slices),
        columns=_SLICES_A_ROW,
        title=alt.TitleParams("Time against each parameter's values", subtitle=heading),
    ).resolve_scale(color="independent", shape="independent", xOffset="independent")
    return chart


def _png(chart: alt.LayerChart | alt.ConcatChart, tables: dict[str, Rows]) -> bytes:
    spec: dict[str, Any] = chart.to_dict()
    spec["config"] = {**config(LIGHT), "background": LIGHT.paper}
    spec["padding"] = 16
    spec["datasets"] = {**spec.get("datasets", {}), **{name: _records(table) for name, table in tables.items()}}
    png: bytes = vl_convert.vegalite_to_png(spec, scale=_PIXELS_A_POINT)
    return png


def _records(table: Rows) -> list[dict[str, Any]]:
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
