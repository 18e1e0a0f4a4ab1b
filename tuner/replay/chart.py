"""How agents converge, drawn: over all spaces, on each, and how sure the difference is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import numpy.typing as npt

from tuner.replay.score import COMMUNITY, Score, estimates
from tuner.replay.table import by_agent
from tuner.report.drawing import Chart, Rows, chart_over, layered, short
from tuner.report.library import altair as alt
from tuner.report.palette import Palette
from tuner.statistics import mean_interval
from tuner.types import Scalar

__all__ = ["CURVES", "SCORES", "charts", "rows"]

CURVES = "curves"
SCORES = "scores"
_SPACE = "space"
_BASELINE = "random search, calculated"
_HEIGHT = 340
_SPACE_HEIGHT = 190
_ROW_HEIGHT = 30
# A curve is drawn at so many evaluations, spread evenly on a logarithmic axis.
_PLACES = 60
_RESAMPLES = 500
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_DASHES = ([1, 0], [6, 3], [2, 2])


def rows(scores: Sequence[Score], trials: int) -> dict[str, Rows]:
    """Return the rows of all charts, by name.

    Of curves: `n` evaluations, the mean fraction of the optimum `y` with its interval from `low` to `high` (over spaces
    and seeds, or on one space over seeds), and the `agent`; of scores: `agent`, `y`, `low`, `high`.
    """
    places = _places(trials)
    groups = by_agent(scores)
    spaces = next(iter(groups.values()))
    tables: dict[str, Rows] = {
        CURVES: _curve_rows(groups, places),
        SCORES: _score_rows(groups),
    }
    for place in range(len(spaces)):
        tables[f"{_SPACE}-{place}"] = _curve_rows({agent: [own[place]] for agent, own in groups.items()}, places)
    return tables


def charts(scores: Sequence[Score], trials: int, palette: Palette) -> list[Chart]:
    """Return the convergence over all spaces, the scores, and the convergence on each space, in this order."""
    groups = by_agent(scores)
    spaces = next(iter(groups.values()))
    agents = list(groups)
    made = [
        Chart(
            "convergence",
            "How near the optimum, after how many evaluations",
            _convergence(CURVES, agents, trials, palette, _HEIGHT, legend=True),
            CURVES,
            f"The mean fraction of the optimum over {len(spaces)} spaces, by agent: {', '.join(agents)}.",
        ),
        Chart(
            SCORES,
            "Between random search (0) and the optimum at once (1)",
            _scores(agents, palette),
            SCORES,
            "The score of each agent with its interval: "
            + ", ".join(f"{agent} {estimates(own)[COMMUNITY].value:.3f}" for agent, own in groups.items())
            + ".",
        ),
    ]
    for place, score in enumerate(spaces):
        name = f"{_SPACE}-{place}"
        spec = _convergence(name, agents, trials, palette, _SPACE_HEIGHT, legend=False)
        made.append(Chart(name, score.space, spec, name, f"The fraction of the optimum on {score.space}, by agent."))
    return made


def _places(trials: int) -> list[int]:
    """Return the evaluations at which curves are drawn."""
    return sorted({round(place) for place in np.geomspace(1, trials, min(_PLACES, trials)).tolist()})


def _curve_rows(groups: Mapping[str, Sequence[Score]], places: Sequence[int]) -> Rows:
    columns: dict[str, list[Scalar | None]] = {name: [] for name in ("agent", "n", "y", "low", "high")}
    for agent, scores in groups.items():
        fractions = np.array([_fractions(score, places) for score in scores])
        for column, count in enumerate(places):
            interval = mean_interval(fractions[:, :, column].tolist(), resamples=_RESAMPLES)
            _append(columns, agent, count, float(fractions[:, :, column].mean()), interval.low, interval.high)
    expected = np.array([score.baseline.expected_fractions(places) for score in next(iter(groups.values()))])
    for count, value in zip(places, expected.mean(axis=0).tolist(), strict=True):
        _append(columns, _BASELINE, count, value, None, None)
    return columns


def _append(
    columns: dict[str, list[Scalar | None]], agent: str, n: int, y: float, low: float | None, high: float | None
) -> None:
    values = (agent, n, short(y), None if low is None else short(low), None if high is None else short(high))
    for name, value in zip(columns, values, strict=True):
        columns[name].append(value)


def _fractions(score: Score, places: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the fraction of the optimum of each run after so many evaluations, (seeds, places)."""
    return np.array(
        [[score.optimum_seconds / run.curve[min(count, len(run.curve)) - 1] for count in places] for run in score.runs]
    )


def _score_rows(groups: Mapping[str, Sequence[Score]]) -> Rows:
    found = [estimates(own)[COMMUNITY] for own in groups.values()]
    return {
        "agent": list(groups),
        "y": [short(estimate.value) for estimate in found],
        "low": [short(estimate.low) for estimate in found],
        "high": [short(estimate.high) for estimate in found],
    }


def _inks(agents: Sequence[str], palette: Palette) -> dict[str, str]:
    return dict(zip(agents, cycle(palette.series), strict=False))


def _convergence(
    name: str, agents: Sequence[str], trials: int, palette: Palette, height: int, *, legend: bool
) -> alt.LayerChart:
    inks = {**_inks(agents, palette), _BASELINE: palette.muted}
    # More agents than colours are told apart by their dashes.
    dashes = {agent: _DASHES[i // len(palette.series) % len(_DASHES)] for i, agent in enumerate(agents)}
    dashes[_BASELINE] = [1, 3]
    shown = (
        alt.Legend(title=None, columns=4, labelLimit=260, symbolType="stroke", symbolOpacity=1, symbolSize=220)
        if legend
        else None
    )
    # A small chart has room for the decades.
    ticks = [tick for tick in _TICKS if tick <= trials and (legend or str(tick).startswith("1"))]
    x = alt.X(
        "n:Q",
        title="evaluations" if legend else None,
        scale=alt.Scale(type="log", domain=[1, max(trials, 2)], nice=False),
        axis=alt.Axis(values=ticks, format="d"),
    )
    title = "optimum / best found"
    y = alt.Y("y:Q", title=title if legend else None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5))
    color = alt.Color("agent:N", scale=alt.Scale(domain=list(inks), range=list(inks.values())), legend=shown)
    dash = alt.StrokeDash("agent:N", scale=alt.Scale(domain=list(inks), range=[dashes[n] for n in inks]), legend=shown)
    over = chart_over(name)
    bands = (
        over.transform_filter("datum.low != null")
        .mark_area(opacity=0.14, interpolate="step-after")
        .encode(x=x, y=alt.Y("low:Q", title=title if legend else None), y2="high:Q", color=color)
    )
    lines = over.mark_line(interpolate="step-after", strokeWidth=2).encode(
        x=x,
        y=y,
        color=color,
        strokeDash=dash,
        tooltip=[
            alt.Tooltip("agent:N", title="agent"),
            alt.Tooltip("n:Q", title="evaluations"),
            alt.Tooltip("y:Q", title=title, format=".3f"),
            alt.Tooltip("low:Q", title="from", format=".3f"),
            alt.Tooltip("high:Q", title="to", format=".3f"),
        ],
    )
    return layered(height, bands, lines)


def _scores(agents: Sequence[str], palette: Palette) -> alt.LayerChart:
    inks = _inks(agents, palette)
    axis = alt.Axis(ticks=False, domain=False, labelLimit=260)
    y = alt.Y("agent:N", sort=list(agents), title=None, axis=axis)
    color = alt.Color("agent:N", scale=alt.Scale(domain=list(inks), range=list(inks.values())), legend=None)
    x = alt.X("y:Q", title="score", axis=alt.Axis(grid=True, tickCount=6), scale=alt.Scale(zero=True))
    over = chart_over(SCORES)
    zero = alt.Chart(alt.InlineData([{"at": 0.0}])).mark_rule(color=palette.muted, strokeDash=[4, 3]).encode(x="at:Q")
    spans = over.mark_rule(strokeWidth=2).encode(y=y, x=alt.X("low:Q", title="score"), x2="high:Q", color=color)
    points = over.mark_point(size=70, opacity=1).encode(
        y=y,
        x=x,
        color=color,
        tooltip=[
            alt.Tooltip("agent:N", title="agent"),
            alt.Tooltip("y:Q", title="score", format=".3f"),
            alt.Tooltip("low:Q", title="from", format=".3f"),
            alt.Tooltip("high:Q", title="to", format=".3f"),
        ],
    )
    return layered(max(70, _ROW_HEIGHT * len(agents)), zero, spans, points)
