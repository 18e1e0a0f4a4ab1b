"""What all drawings share: their look, how a chart and its rows are held, and how both become a page or a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.report.library import altair as alt
from tuner.report.library import vl_convert
from tuner.report.palette import LIGHT, Palette
from tuner.types import Scalar

__all__ = ["Chart", "Rows", "chart_over", "config", "layered", "page_data", "png_of", "short", "ticks"]

Rows = Mapping[str, Sequence[Scalar | None]]
"""Columns by name, all of one length."""

_PIXELS_A_POINT = 2.0


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        name: Unique within its task; part of file names.
        title: What it shows.
        spec: Vega-Lite, without data and with the width left open.
        rows: The name of its rows.
        label: What a screen reader says.
    """

    name: str
    title: str
    spec: alt.LayerChart
    rows: str
    label: str

    @property
    def height(self) -> int:
        """Its height in pixels, without axes and legend."""
        return int(self.spec.height)


def config(palette: Palette) -> dict[str, Any]:
    """Return Vega-Lite's configuration: the one look of all charts."""
    text = {"labelColor": palette.muted, "titleColor": palette.muted, "labelFontSize": 11, "titleFontSize": 12}
    return {
        "font": "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif",
        "background": "transparent",
        "view": {"stroke": None},
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "gridColor": palette.line,
            "domainColor": palette.line,
            "tickColor": palette.line,
            "labelOverlap": True,
        },
        "axisX": {"grid": False},
        "legend": {**text, "orient": "top", "title": None, "symbolStrokeWidth": 1.5, "columns": 4, "offset": 6},
        "title": {"color": palette.ink, "fontSize": 13, "anchor": "start", "fontWeight": 600},
        "point": {"filled": True},
    }


def layered(height: int, *layers: alt.Chart) -> alt.LayerChart:
    """Return one chart of several, of a height in pixels."""
    chart: alt.LayerChart = alt.LayerChart(layer=layers, height=height)
    return chart


def chart_over(rows: str) -> alt.Chart:
    """Return a chart over the rows of that name."""
    return alt.Chart(alt.NamedData(rows))


def short(value: float) -> float:
    """Return `value` with five digits: what a chart can show."""
    return float(f"{value:.5g}")


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers for a logarithmic axis, about five, whether it spans a percent or six decades."""
    decades = math.log10(high / low)
    if decades >= 1:
        digits = (1,) if decades > 4 else (1, 3) if decades > 2 else (1, 2, 5)
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        every = max(1, round(decades / 6))
        marks = [digit * 10.0**exponent for exponent in exponents[::every] for digit in digits]
    else:
        rough = (high - low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(step * unit for step in (1, 2, 2.5, 5, 10) if step * unit >= rough)
        marks = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [float(f"{mark:.6g}") for mark in marks if low <= mark <= high]


def page_data(groups: Sequence[tuple[Mapping[str, Rows], Mapping[str, Chart]]], palette: Palette) -> str:
    """Return what a page's script draws, as JSON that is safe inside a script element, whatever a compiler wrote.

    Args:
        groups: Rows by name, and the charts over them by name.
        palette: The page's colours.
    """
    data = {
        "config": config(palette),
        "tasks": [
            {
                "rows": rows,
                "charts": {name: {"rows": chart.rows, "spec": _spec(chart)} for name, chart in charts.items()},
            }
            for rows, charts in groups
        ],
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def png_of(chart: alt.TopLevelMixin, tables: Mapping[str, Rows]) -> bytes:
    """Return a picture, two pixels a point, of a chart over rows by name."""
    spec: dict[str, Any] = chart.to_dict()
    spec["config"] = {**config(LIGHT), "background": LIGHT.paper}
    spec["padding"] = 16
    spec["datasets"] = {**spec.get("datasets", {}), **{name: _records(table) for name, table in tables.items()}}
    png: bytes = vl_convert.vegalite_to_png(spec, scale=_PIXELS_A_POINT)
    return png


def _spec(chart: Chart) -> dict[str, Any]:
    spec = chart.spec.properties(width="container").to_dict()
    # Altair's own theme; the page has its own.
    spec.pop("config", None)
    return {**spec, "autosize": {"type": "fit-x", "contains": "padding"}}


def _records(table: Rows) -> list[dict[str, Any]]:
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
