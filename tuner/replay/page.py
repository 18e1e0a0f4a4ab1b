"""What was judged as one HTML page that loads nothing, and as one picture."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner.errors import TunerError
from tuner.replay.chart import charts, rows
from tuner.replay.score import Score
from tuner.replay.table import Table, by_agent, tables
from tuner.replay.tournament import Rules
from tuner.report.document import document
from tuner.report.drawing import Rows, chart_over, png_of
from tuner.report.library import altair as alt
from tuner.report.palette import LIGHT, PAGE

__all__ = ["FORMATS", "render", "require_format", "write"]

FORMATS = (".html", ".png")
"""Endings of the files that `write` makes."""

_WIDTH = 760
_SPACE_WIDTH = 215
_SPACES_A_ROW = 3
_ROW_HEIGHT = 20
# Between plots, axes and titles included.
_SPACING = 84
_CHARACTER_WIDTH = 6.6


def require_format(path: Path) -> None:
    """Do nothing where `path` ends in one of `FORMATS`.

    Raises:
        TunerError: it does not.
    """
    if path.suffix not in FORMATS:
        raise TunerError(f"{path} is neither a page nor a picture; let its name end in {' or '.join(FORMATS)}")


def write(path: Path, scores: Sequence[Score], rules: Rules, command: Sequence[str]) -> None:
    """Write a page or a picture, as the file's name ends.

    Args:
        path: The file.
        scores: What was found.
        rules: What every run was allowed.
        command: The words that did it, told on the page.

    Raises:
        TunerError: the file cannot be written, or is of another kind.
        MissingDependencyError: a package that drawing needs is not installed.
    """
    require_format(path)
    content = picture(scores, rules) if path.suffix == ".png" else render(scores, rules, command).encode()
    try:
        path.write_bytes(content)
    except OSError as error:
        raise TunerError(f"cannot write {path}: {error.strerror}") from error


def render(scores: Sequence[Score], rules: Rules, command: Sequence[str]) -> str:
    """Return the page."""
    drawn = {chart.name: chart for chart in charts(scores, rules.trials, PAGE)}
    groups = by_agent(scores)
    return document(
        "replay.html",
        [(rows(scores, rules.trials), drawn)],
        forms={},
        package="tuner.replay",
        charts=drawn,
        agents=list(groups),
        spaces=[chart for name, chart in drawn.items() if name.startswith("space-")],
        priors=sorted({name for score in scores for name in score.prior}),
        rules=rules,
        tables=_ordered(tables(scores, rules)),
        command=shlex.join(command),
    )


def _ordered(made: Sequence[Table]) -> list[Table]:
    """Return the tables with the one of all agents first."""
    return [made[-1], *made[:-1]]


def picture(scores: Sequence[Score], rules: Rules) -> bytes:
    """Return the page's charts and its first table, in light colours."""
    overall, scored, *spaces = charts(scores, rules.trials, LIGHT)
    summary = tables(scores, rules)[-1]
    parts: list[Any] = [
        overall.spec.properties(width=_WIDTH, title=overall.title),
        scored.spec.properties(width=_WIDTH - 200, title=scored.title),
        _drawn(summary),
    ]
    if len(spaces) > 1:
        parts.append(
            alt.concat(
                *(chart.spec.properties(width=_SPACE_WIDTH, title=chart.title) for chart in spaces),
                columns=_SPACES_A_ROW,
            )
        )
    chart = alt.vconcat(*parts, spacing=_SPACING, bounds="flush").resolve_scale(
        color="independent", strokeDash="independent"
    )
    return png_of(chart, {**rows(scores, rules.trials), "table": _cells(summary)})


def _cells(table: Table) -> Rows:
    """Return the cells of a table, its head first, each with its line and the left end of its column in pixels."""
    lines = [table.columns, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    lefts = [sum(width + 2 for width in widths[:i]) * _CHARACTER_WIDTH for i in range(len(widths))]
    cells = [(text, float(place), lefts[i]) for place, line in enumerate(lines) for i, text in enumerate(line)]
    return {
        "text": [text for text, _, _ in cells],
        "line": [line for _, line, _ in cells],
        "left": [left for _, _, left in cells],
    }


def _drawn(table: Table) -> alt.Chart:
    """Return a table as a chart of text."""
    cells = _cells(table)
    last = max(left for left in cells["left"] if isinstance(left, float))
    width = last + _CHARACTER_WIDTH * (2 + max(len(line[-1]) for line in (table.columns, *table.rows)))
    height = _ROW_HEIGHT * (len(table.rows) + 1)
    hidden = alt.Axis(title=None, labels=False, ticks=False, domain=False, grid=False)
    chart: alt.Chart = (
        chart_over("table")
        .mark_text(align="left", baseline="top", fontSize=11)
        .encode(
            x=alt.X("left:Q", axis=hidden, scale=alt.Scale(domain=[0, width], nice=False)),
            y=alt.Y("line:Q", axis=hidden, scale=alt.Scale(domain=[len(table.rows) + 1, 0], nice=False)),
            text="text:N",
            color=alt.condition("datum.line == 0", alt.value(LIGHT.muted), alt.value(LIGHT.ink)),
        )
        .properties(width=width, height=height, title=table.title)
    )
    return chart
