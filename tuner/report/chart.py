"""The charts of a report, in Vega-Lite through Altair: a specification and its rows, for a page or for a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.objective import Direction, Objective
from tuner.phrase import metric_text
from tuner.report.data import LIMIT, Final, Importance, Roof, TaskReport, mark_of
from tuner.report.drawing import Chart, Rows, chart_over, layered, short, ticks
from tuner.report.library import altair as alt
from tuner.report.palette import Palette
from tuner.statistics import median
from tuner.text import config_text, scalar_text
from tuner.types import Scalar, Status

__all__ = ["charts", "rows", "trial_rows"]

_STATUSES = (*(status.value for status in Status if status is not Status.CORRECT), LIMIT)
_SHAPES = ("cross", "triangle-down", "diamond", "square", "triangle-right", "triangle-up")
_MOST_ERROR_CHARACTERS = 120
_HEIGHT = 300
_SLICE_HEIGHT = 170
_BINS = 40
_MANY_TRIALS = 300
# Where failures are marked: this many pixels below the upper edge, on a strip that no time reaches.
_RUG = 10
_STRIP = 22


@dataclass(frozen=True, slots=True)
class _Scale:
    """The axis of scores that a task's charts share."""

    low: float
    high: float
    title: str
    paired: bool

    def y(self, height: int, field: str = "y", title: str | None = None) -> alt.Y:
        return alt.Y(
            f"{field}:Q",
            title=title if title is not None else self.title,
            scale=alt.Scale(type="log", domain=[self.low, self._top(height)], nice=False),
            axis=alt.Axis(values=ticks(self.low, self.high), format="~g", grid=True),
        )

    def _top(self, height: int) -> float:
        """Return where the axis ends, so that the highest time stays below the strip of failures."""
        top: float = self.high * (self.high / self.low) ** (_STRIP / (height - _STRIP))
        return top


def charts(report: TaskReport, importance: Importance, palette: Palette) -> list[Chart]:
    """Return the charts that `report` has data for, in the order in which they are read."""
    made: list[Chart] = []
    if report.final and report.final.ratios:
        made += [_pairs(report.final, palette), _spread(report.final, palette)]
    if report.front:
        made += [_front(report, place, palette) for place in range(1, len(report.objective.every))]
    if report.usable:
        scale = _scale(report)
        made.append(_convergence(report, scale, palette))
        if importance.shares:
            made.append(_importance(importance, palette))
        order = {share.parameter: i for i, share in enumerate(importance.shares)}
        places = sorted(range(len(report.parameters)), key=lambda i: order.get(report.parameters[i].name, len(order)))
        made += [_slice(report, i, scale, palette) for i in places if len(report.parameters[i].values) > 1]
        if report.paired:
            made.append(_machine(report, palette))
    if report.roof:
        made.append(_roofline(report, report.roof, palette))
    return made


def rows(report: TaskReport, importance: Importance) -> dict[str, Rows]:
    """Return the rows of all charts of a task, by name."""
    tables: dict[str, Rows] = {"trials": trial_rows(report)}
    if report.final and report.final.ratios:
        ratios = report.final.ratios
        tables["pairs"] = {"n": list(range(len(ratios))), "r": [short(ratio) for ratio in ratios]}
        tables["spread"] = _spread_rows(report.final)
    if report.front:
        tables["front"] = _front_rows(report)
    if importance.shares:
        tables["importance"] = {
            "parameter": [share.parameter for share in importance.shares],
            "value": [short(share.value) for share in importance.shares],
            "low": [short(max(0.0, share.value - share.spread)) for share in importance.shares],
            "high": [short(share.value + share.spread) for share in importance.shares],
        }
    if report.roof:
        tables["roofline"] = _roof_rows(report, report.roof)
    return tables


def trial_rows(report: TaskReport) -> Rows:
    """Return the trials as columns.

    `n` is a trial's number, `y` its score and `best` the best so far (null where there is none), `mark` its status,
    `why` the beginning of its error, `default` the default's own time relative to its median, `p0`, `p1`, ... the
    parameters' values as text, and `chosen` whether it is the config of the final.
    """
    best = math.inf
    bests: list[float | None] = []
    for score in report.scores:
        best = min(best, score)
        bests.append(short(best) if math.isfinite(best) else None)
    references = [
        report.objective.value(trial.measurement, reference=True)
        if report.objective.is_paired(trial.measurement)
        else None
        for trial in report.trials
    ]
    known = [seconds for seconds in references if seconds is not None]
    middle = median(known) if known else 1.0
    columns: dict[str, Sequence[Scalar | None]] = {
        "n": [trial.number for trial in report.trials],
        "y": [short(score) if math.isfinite(score) else None for score in report.scores],
        "best": bests,
        "mark": [mark_of(trial, score) for trial, score in zip(report.trials, report.scores, strict=True)],
        "why": [trial.measurement.error.strip()[:_MOST_ERROR_CHARACTERS] or None for trial in report.trials],
        "default": [short(seconds / middle) if seconds is not None else None for seconds in references],
        "chosen": [int(trial.config == report.config) for trial in report.trials],
    }
    for i, parameter in enumerate(report.parameters):
        columns[f"p{i}"] = [_text(trial.config.get(parameter.name)) for trial in report.trials]
    return columns


def _text(value: Scalar | None) -> str | None:
    return None if value is None else scalar_text(value)


def _scale(report: TaskReport) -> _Scale:
    scores = [score for _, score in report.usable]
    low, high = min(scores), max(scores)
    if report.paired:
        low, high = min(low, 1.0), max(high, 1.0)
    room = max((high / low) ** 0.08, 1.02)
    return _Scale(low / room, high * room, _score_title(report), report.paired)


def _word(report: TaskReport) -> str:
    return "time" if report.timed else report.objective.metric


def _score_title(report: TaskReport) -> str:
    """Return what a score is: lower is better, whichever way the metric is optimised."""
    objective = report.objective
    if objective.direction is Direction.MAXIMIZE:
        return f"default's {objective.metric} / its own" if report.paired else f"1 / {objective.metric}"
    what = _word(report)
    return f"{what} / default's {what}" if report.paired else objective.metric


def _opacity(report: TaskReport) -> float:
    """Return how opaque a trial's dot is: many dots show where they crowd, few have to be seen at all."""
    return 0.75 if len(report.trials) <= _MANY_TRIALS else 0.4


def _numbers(title: str, field: str = "n") -> alt.X:
    return alt.X(
        f"{field}:Q",
        title=title,
        scale=alt.Scale(nice=False, zero=False, padding=8),
        axis=alt.Axis(tickCount=alt.ExprRef(expr="ceil(width / 90)"), format="d", tickMinStep=1),
    )


def _marks(report: TaskReport, palette: Palette) -> dict[str, Any]:
    """Return the encoding of failures: a colour and a shape for each status, and a legend of those that occur."""
    present = {mark_of(trial, score) for trial, score in zip(report.trials, report.scores, strict=True)}
    shown = [status for status in _STATUSES if status in present]
    colors = [getattr(palette, status) for status in shown]
    shapes = [_SHAPES[_STATUSES.index(status)] for status in shown]
    legend = alt.Legend(title=None)
    return {
        "color": alt.Color("mark:N", scale=alt.Scale(domain=shown, range=colors), legend=legend),
        "shape": alt.Shape("mark:N", scale=alt.Scale(domain=shown, range=shapes), legend=legend),
    }


def _tooltip(report: TaskReport, *, failed: bool = False) -> list[alt.Tooltip]:
    title = _score_title(report)
    how = (
        [alt.Tooltip("mark:N", title="status"), alt.Tooltip("why:N", title="error")]
        if failed
        else [alt.Tooltip("y:Q", title=title, format=".4~g")]
    )
    return [
        alt.Tooltip("n:Q", title="trial"),
        *how,
        *(alt.Tooltip(f"p{i}:N", title=parameter.name) for i, parameter in enumerate(report.parameters)),
    ]


def _front_rows(report: TaskReport) -> Rows:
    """Return the usable trials as columns: `n`, each objective's value, whether it is on the front, and its config."""
    every = report.objective.every
    front = {trial.number for trial in report.front}
    usable = [trial for trial, _ in report.usable]
    columns: dict[str, Sequence[Scalar | None]] = {"n": [trial.number for trial in usable]}
    for place, one in enumerate(every):
        values = [one.value(trial.measurement) for trial in usable]
        columns[f"v{place}"] = [short(value) if value is not None else None for value in values]
    return {
        **columns,
        "on": [int(trial.number in front) for trial in usable],
        "chosen": [int(trial.config == report.config) for trial in usable],
        "config": [config_text(trial.config) for trial in usable],
    }


def _front(report: TaskReport, place: int, palette: Palette) -> Chart:
    """Return the trials by the first objective and another one, with the front as a line."""
    first, other = report.objective.every[0], report.objective.every[place]

    def axis(field: str, one: Objective) -> dict[str, Any]:
        word = "more" if one.direction is Direction.MAXIMIZE else "less"
        return {"field": field, "type": "quantitative", "title": f"{_named(one)} ({word} is better)"}

    x = alt.X(**axis("v0", first), scale=alt.Scale(zero=False, nice=False, padding=10))
    y = alt.Y(**axis(f"v{place}", other), scale=alt.Scale(zero=False, nice=False, padding=10))
    tooltip = [
        alt.Tooltip("n:Q", title="trial"),
        alt.Tooltip("v0:Q", title=_named(first), format=".4~g"),
        alt.Tooltip(f"v{place}:Q", title=_named(other), format=".4~g"),
        alt.Tooltip("config:N", title="config"),
    ]
    base = chart_over("front")
    on = base.transform_filter("datum.on")
    layers = [
        base.transform_filter("!datum.on")
        .mark_point(size=28, opacity=_opacity(report), color=palette.trial)
        .encode(x=x, y=y, tooltip=tooltip),
        # Of more than two objectives, the front is no line in two of them.
        *(
            [on.mark_line(color=palette.gain, strokeWidth=1.5).encode(x=x, y=y)]
            if len(report.objective.every) == 2
            else []
        ),
        on.mark_point(size=70, opacity=1, color=palette.gain).encode(x=x, y=y, tooltip=tooltip),
        base.transform_filter("datum.chosen")
        .mark_point(size=200, filled=False, color=palette.ink, strokeWidth=2)
        .encode(x=x, y=y, tooltip=tooltip),
    ]
    return Chart(
        f"front-{place}",
        f"{_named(other)} by {_named(first)}",
        layered(_HEIGHT, *layers),
        "front",
        f"Scatter plot of {len(report.usable)} trials by {_named(first)} and {_named(other)}; "
        f"{len(report.front)} are on the front.",
    )


def _named(objective: Objective) -> str:
    return metric_text(objective.metric, objective.statistic)


def _convergence(report: TaskReport, scale: _Scale, palette: Palette) -> Chart:
    base = chart_over("trials")
    y = scale.y(_HEIGHT)
    x = _numbers("trial")
    layers: list[alt.Chart] = [_baseline(palette)] if scale.paired else []
    layers += [
        base.transform_filter("datum.y != null")
        .mark_point(size=28, opacity=_opacity(report), color=palette.trial)
        .encode(x=x, y=y, tooltip=_tooltip(report)),
        base.transform_filter("datum.best != null")
        .mark_line(interpolate="step-after", color=palette.gain, strokeWidth=2)
        .encode(x=x, y=scale.y(_HEIGHT, "best")),
        base.transform_filter("datum.y != null && datum.chosen")
        .mark_point(size=150, filled=False, color=palette.gain, strokeWidth=2)
        .encode(x=x, y=y, tooltip=_tooltip(report)),
    ]
    if report.failures:
        layers.append(
            base.transform_filter("datum.y == null")
            .mark_point(size=34, filled=True, opacity=0.9)
            .encode(x=x, y=alt.value(_RUG), tooltip=_tooltip(report, failed=True), **_marks(report, palette))
        )
    failed = sum(failure.count for failure in report.failures)
    return Chart(
        "convergence",
        "Convergence",
        layered(_HEIGHT, *layers),
        "trials",
        f"Scatter plot of {len(report.trials)} trials against their {_word(report)}, with the best so far; "
        f"{failed} failed.",
    )


def _baseline(palette: Palette) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(alt.InlineData([{"at": 1.0}]))
        .mark_rule(color=palette.muted, strokeDash=[4, 3])
        .encode(y=alt.Y("at:Q"))
    )
    return chart


def _slice(report: TaskReport, place: int, scale: _Scale, palette: Palette) -> Chart:
    parameter = report.parameters[place]
    words = [scalar_text(value) for value in parameter.values]
    longest = max(map(len, words))
    crowded = longest * len(words) > 28
    x = alt.X(
        f"p{place}:N",
        title=parameter.name,
        sort=words,
        scale=alt.Scale(domain=words, paddingInner=0.1, paddingOuter=0.1),
        axis=alt.Axis(labelAngle=-40 if crowded and longest > 3 else 0, labelLimit=90, ticks=False),
    )
    # The golden ratio spreads neighbours in time far apart, and says the same every time.
    base = chart_over("trials").transform_calculate(jitter="(datum.n * 0.618034) % 1")
    jitter = alt.XOffset("jitter:Q", scale=alt.Scale(domain=[-0.25, 1.25]))
    y = scale.y(_SLICE_HEIGHT)
    layers: list[alt.Chart] = [_baseline(palette)] if scale.paired else []
    layers += [
        base.transform_filter("datum.y != null")
        .mark_point(size=18, opacity=_opacity(report), color=palette.trial)
        .encode(x=x, xOffset=jitter, y=y, tooltip=_tooltip(report)),
        base.transform_filter("datum.y != null")
        .transform_aggregate(y="median(y)", groupby=[f"p{place}"])
        .transform_calculate(jitter="0.5")
        .mark_point(shape="stroke", size=500, filled=False, color=palette.ink, strokeWidth=2, opacity=1)
        .encode(
            x=x, xOffset=jitter, y=scale.y(_SLICE_HEIGHT), tooltip=[alt.Tooltip("y:Q", title="median", format=".4~g")]
        ),
        base.transform_filter("datum.y != null && datum.chosen")
        .mark_point(size=90, filled=False, color=palette.gain, strokeWidth=2)
        .encode(x=x, xOffset=jitter, y=y, tooltip=_tooltip(report)),
    ]
    if report.failures:
        encoding = {name: channel.copy() for name, channel in _marks(report, palette).items()}
        for channel in encoding.values():
            channel.legend = None
        layers.append(
            base.transform_filter("datum.y == null")
            .mark_point(size=20, filled=True, opacity=0.9)
            .encode(x=x, xOffset=jitter, y=alt.value(_RUG), tooltip=_tooltip(report, failed=True), **encoding)
        )
    return Chart(
        f"slice-{place}",
        parameter.name,
        layered(_SLICE_HEIGHT, *layers),
        "trials",
        f"Strip plot of the {_word(report)} against the values of {parameter.name}: {', '.join(words)}.",
    )


def _importance(importance: Importance, palette: Palette) -> Chart:
    order = [share.parameter for share in importance.shares]
    y = alt.Y("parameter:N", sort=order, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=140))
    tooltip = [
        alt.Tooltip("parameter:N", title="parameter"),
        alt.Tooltip("value:Q", title="share of the variance", format=".1%"),
    ]
    bars = (
        chart_over("importance")
        .mark_bar(color=palette.trial, height=14, cornerRadiusEnd=2, opacity=0.85)
        .encode(
            y=y,
            x=alt.X(
                "value:Q",
                title="share of the variance",
                axis=alt.Axis(format=".0%", tickCount=alt.ExprRef(expr="ceil(width / 90)"), grid=True),
            ),
            tooltip=tooltip,
        )
    )
    spreads = chart_over("importance").mark_rule(color=palette.ink, strokeWidth=1.5).encode(y=y, x="low:Q", x2="high:Q")
    return Chart(
        "importance",
        "Importance of the parameters",
        layered(max(90, 26 * len(order)), bars, spreads),
        "importance",
        "Bar chart: " + ", ".join(f"{share.parameter} {share.value:.0%}" for share in importance.shares) + ".",
    )


def _ratio_axis(ratios: Sequence[float], extra: Sequence[float]) -> tuple[float, float]:
    """Return a domain that shows nearly all ratios: a single interrupted call must not flatten the others."""
    ordered = sorted(ratios)
    cut = max(1, len(ordered) // 50) if len(ordered) >= 20 else 0
    core = ordered[cut : len(ordered) - cut] if cut else ordered
    low, high = min(*core, *extra, 1.0), max(*core, *extra, 1.0)
    room = max(0.06 * (high - low), 0.002)
    return low - room, high + room


def _pairs(final: Final, palette: Palette) -> Chart:
    low, high = final.interval
    extra = [low, high] + ([final.estimate] if final.estimate else [])
    bottom, top = _ratio_axis(final.ratios, extra)
    scale = alt.Scale(domain=[bottom, top], nice=False, zero=False, clamp=True)
    x = _numbers("pair")
    axis = alt.Axis(values=ticks(bottom, top), format="~g") if bottom > 0 else alt.Axis(format="~g")
    title = "speed-up in the pair"
    levels = [{"at": 1.0, "what": "the default"}, {"at": final.speedup, "what": "proven"}]
    if final.estimate:
        levels.append({"at": final.estimate, "what": "the search's estimate"})
    names = [str(level["what"]) for level in levels]
    inks = dict(
        zip(
            ("the default", "proven", "the search's estimate"), (palette.muted, palette.gain, palette.warn), strict=True
        )
    )
    dashes = {"the default": [4, 3], "proven": [1, 0], "the search's estimate": [2, 3]}
    band = (
        alt.Chart(alt.InlineData([{"low": low, "high": high}]))
        .mark_rect(color=palette.gain, opacity=0.16)
        .encode(y=alt.Y("low:Q", title=title, scale=scale, axis=axis), y2="high:Q")
    )
    lines = (
        alt.Chart(alt.InlineData(levels))
        .mark_rule(strokeWidth=1.8)
        .encode(
            y=alt.Y("at:Q", title=title, scale=scale, axis=axis),
            color=alt.Color(
                "what:N", scale=alt.Scale(domain=names, range=[inks[name] for name in names]), legend=alt.Legend()
            ),
            strokeDash=alt.StrokeDash(
                "what:N", scale=alt.Scale(domain=names, range=[dashes[name] for name in names]), legend=alt.Legend()
            ),
            tooltip=[alt.Tooltip("what:N", title="line"), alt.Tooltip("at:Q", title="speed-up", format=".4~g")],
        )
    )
    points = (
        chart_over("pairs")
        .mark_point(size=22, opacity=0.7, color=palette.trial)
        .encode(
            x=x,
            y=alt.Y("r:Q", title=title, scale=scale, axis=axis),
            tooltip=[alt.Tooltip("n:Q", title="pair"), alt.Tooltip("r:Q", title="speed-up", format=".4~g")],
        )
    )
    return Chart(
        "pairs",
        "The final, pair by pair",
        layered(_HEIGHT, band, lines, points),
        "pairs",
        f"The speed-up in each of {len(final.ratios)} pairs; the median is {final.speedup:.3f}.",
    )


def _spread_rows(final: Final) -> Rows:
    """Return a histogram of the ratios; those beyond its ends are counted in the outer bins."""
    low, high = _ratio_axis(final.ratios, final.interval)
    counts, edges = np.histogram(np.clip(final.ratios, low, high), bins=_BINS, range=(low, high))
    return {
        "low": [short(edge) for edge in edges[:-1].tolist()],
        "high": [short(edge) for edge in edges[1:].tolist()],
        "count": counts.tolist(),
    }


def _spread(final: Final, palette: Palette) -> Chart:
    low, high = _ratio_axis(final.ratios, final.interval)
    title = "speed-up in the pair"
    x = alt.X(
        "low:Q",
        title=title,
        axis=alt.Axis(format="~g", tickCount=alt.ExprRef(expr="ceil(width / 90)")),
        scale=alt.Scale(domain=[low, high], nice=False, zero=False),
    )
    bars = (
        chart_over("spread")
        .mark_rect(color=palette.trial, opacity=0.75)
        .encode(
            x=x,
            x2="high:Q",
            y=alt.Y("count:Q", title="pairs", axis=alt.Axis(tickMinStep=1, tickCount=5, format="d")),
            y2=alt.datum(0),
            tooltip=[
                alt.Tooltip("low:Q", title="from", format=".4~g"),
                alt.Tooltip("high:Q", title="to", format=".4~g"),
                alt.Tooltip("count:Q", title="pairs"),
            ],
        )
    )
    rules = [
        alt.Chart(alt.InlineData([{"at": at}]))
        .mark_rule(color=color, strokeWidth=1.8, strokeDash=dash)
        .encode(x=alt.X("at:Q", title=title))
        for at, color, dash in ((1.0, palette.muted, [4, 3]), (final.speedup, palette.gain, [1, 0]))
    ]
    return Chart(
        "spread",
        "How the pairs spread",
        layered(_HEIGHT, bars, *rules),
        "spread",
        f"Histogram of the speed-ups of {len(final.ratios)} pairs.",
    )


def _machine(report: TaskReport, palette: Palette) -> Chart:
    column = [value for value in trial_rows(report)["default"] if isinstance(value, float)]
    low, high = min(column), max(column)
    room = max(0.08 * (high - low), 0.01)
    points = (
        chart_over("trials")
        .transform_filter("datum.default != null")
        .mark_point(size=22, opacity=0.7, color=palette.trial)
        .encode(
            x=_numbers("trial"),
            y=alt.Y(
                "default:Q",
                title=f"default's {_word(report)} / its median",
                scale=alt.Scale(domain=[low - room, high + room], nice=False, zero=False),
                axis=alt.Axis(format="~g", tickCount=5),
            ),
            tooltip=[alt.Tooltip("n:Q", title="trial"), alt.Tooltip("default:Q", title="to median", format=".4~g")],
        )
    )
    return Chart(
        "machine",
        f"The machine: the default's own {_word(report)} in each trial",
        layered(_SLICE_HEIGHT, _baseline(palette), points),
        "trials",
        f"Scatter plot of the default's {_word(report)} in each trial, relative to its median.",
    )


def _roof_rows(report: TaskReport, roof: Roof) -> Rows:
    """Return the default and the config of the final as points under the roof."""
    work = roof.work
    times: list[tuple[str, float | None]] = []
    if report.final:
        evidence = report.final.evidence
        if evidence:
            times = [("default", evidence.default_seconds), ("config", evidence.config_seconds)]
        elif report.objective.metric == "seconds":
            times = [("default", report.final.default_value), ("config", report.final.config_value)]
    elif report.best:
        times = [("best of the search", median(report.best.measurement.samples["seconds"]))]
    known = [(what, seconds) for what, seconds in times if seconds]
    return {
        "what": [what for what, _ in known],
        "intensity": [short(work.flops / work.bytes) for _ in known],
        "rate": [short(work.flops / seconds / 1e9) for _, seconds in known],
        "share": [short(roof.attainable_seconds / seconds) for _, seconds in known],
    }


def _roofline(report: TaskReport, roof: Roof, palette: Palette) -> Chart:
    intensity = roof.work.flops / roof.work.bytes
    peak = roof.flops_per_second
    ridges = [peak / bandwidth for bandwidth in roof.bytes_per_second.values()]
    left, right = min(intensity, *ridges) / 4, max(intensity, *ridges) * 4
    lines = []
    for level, bandwidth in roof.bytes_per_second.items():
        lines += [
            {"level": level, "intensity": at, "rate": min(peak, at * bandwidth) / 1e9}
            for at in (left, peak / bandwidth, right)
        ]
    levels = list(roof.bytes_per_second)
    x = alt.X(
        "intensity:Q",
        title="flops a byte",
        scale=alt.Scale(type="log", domain=[left, right], nice=False),
        axis=alt.Axis(values=ticks(left, right), format="~g"),
    )
    measured = [rate for rate in _roof_rows(report, roof)["rate"] if isinstance(rate, float)]
    low = min([*measured, *(line["rate"] for line in lines if isinstance(line["rate"], float))]) / 1.5
    y = alt.Y(
        "rate:Q",
        title="Gflop a second",
        scale=alt.Scale(type="log", domain=[low, peak / 1e9 * 1.5], nice=False),
        axis=alt.Axis(values=ticks(low, peak / 1e9 * 1.5), format="~g"),
    )
    roofs = (
        alt.Chart(alt.InlineData(lines))
        .mark_line(color=palette.muted)
        .encode(
            x=x,
            y=y,
            detail="level:N",
            strokeDash=alt.StrokeDash("level:N", sort=levels, scale=alt.Scale(domain=levels), legend=alt.Legend()),
            strokeWidth=alt.condition(alt.datum.level == roof.level, alt.value(2.5), alt.value(1)),
        )
    )
    shown = ["default", "config", "best of the search"]
    points = (
        chart_over("roofline")
        .mark_point(size=110, opacity=1)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "what:N", scale=alt.Scale(domain=shown, range=[palette.ink, palette.gain, palette.trial]), legend=None
            ),
            tooltip=[
                alt.Tooltip("what:N", title="config"),
                alt.Tooltip("rate:Q", title="Gflop/s", format=".4~g"),
                alt.Tooltip("share:Q", title="of attainable", format=".1%"),
            ],
        )
    )
    names = points.mark_text(align="left", dx=9, fontSize=12).encode(text="what:N")
    return Chart(
        "roofline",
        "Roofline",
        layered(_HEIGHT, roofs, points, names),
        "roofline",
        f"Roofline: {intensity:.3g} flops a byte, bound by {roof.bound}.",
    )
