from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import TunerError
from tuner.metric import METRICS
from tuner.objective import Direction, Limit, Objective, Statistic
from tuner.phrase import limit_text, objective_text, parse_limit, parse_objective, parse_objectives


def test_an_objective_is_a_direction_a_metric_and_limits() -> None:
    assert parse_objective("maximize goodput where ttft_p99<0.5,tpot_p99<50ms and errors<1%") == Objective(
        "goodput_per_second",
        Direction.MAXIMIZE,
        (
            Limit("ttft_seconds", 0.5, Statistic.P99),
            Limit("tpot_seconds", 0.05, Statistic.P99),
            Limit("error_rate", 0.01),
        ),
    )
    assert parse_objective(" minimize  seconds ") == Objective()
    assert parse_objective("minimise ttft_p95").statistic is Statistic.P95
    assert parse_objective("max top1 where code_bytes <= 4KiB").limits == (Limit("code_bytes", 4096.0),)
    assert parse_limit("top1 > 0.99") == Limit("top1_agreement", lower=0.99)
    assert parse_limit("p50:ttft<1") == Limit("ttft_seconds", 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("goodput", r"objective 'goodput' is not DIRECTION METRIC \[where LIMIT, \.\.\.\]"),
        ("increase goodput", "is not DIRECTION METRIC"),
        ("maximize goodput ttft<1", "is not DIRECTION METRIC"),
        ("maximize 3x", "'3x' is no metric; write a name"),
        ("maximize goodput where ttft_p42<1", "'p42' is no statistic; choose one of median, mean, p90"),
        ("maximize goodput where ttft_p99=1", "limit 'ttft_p99=1' is not METRIC<NUMBER"),
        ("maximize goodput where ttft<1,,tpot<1", "has an empty limit"),
        ("maximize goodput where ttft<1, ttft<2", "ttft_seconds is limited twice"),
        ("maximize goodput where ttft<1h", "'h' is no unit; choose one of s, ms, us"),
        ("maximize goodput where ttft<inf", "'inf' is not a finite number"),
        ("maximize goodput where ttft<__import__('os')", "is not a finite number"),
    ],
)
def test_a_phrase_that_is_no_objective_is_refused(text: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        parse_objective(text)


def test_several_phrases_stand_beside_each_other_under_all_limits() -> None:
    both = parse_objectives(["maximize goodput where ttft_p99<1", "minimize memory where errors<0.1"], 2.5)
    assert [one.metric for one in both.every] == ["goodput_per_second", "peak_memory_bytes"]
    assert [limit.metric for limit in both.every[0].limits] == ["ttft_seconds", "error_rate"]
    assert both.every[0].limits == both.every[1].limits
    assert {one.price_per_hour for one in both.every} == {2.5}
    assert parse_objectives([]) == Objective()
    with pytest.raises(TunerError, match="'goodput_per_second' is optimised twice"):
        parse_objectives(["maximize goodput", "minimize goodput"])
    with pytest.raises(TunerError, match="error_rate is limited twice"):
        parse_objectives(["maximize goodput where errors<1%", "minimize memory where errors<2%"])


metrics = st.sampled_from([*METRICS, "code_bytes", "x"])
statistics = st.sampled_from(Statistic)
numbers = st.floats(-1e30, 1e30).filter(math.isfinite)
limits = st.builds(Limit, metrics, numbers, statistics) | st.builds(Limit, metrics, st.none(), statistics, numbers)


@given(limits)
def test_a_limit_is_read_back(limit: Limit) -> None:
    assert parse_limit(limit_text(limit)) == limit


@given(metrics, st.sampled_from(Direction), st.lists(limits, unique_by=lambda one: one.metric), statistics)
def test_an_objective_is_read_back(metric: str, direction: Direction, own: list[Limit], statistic: Statistic) -> None:
    objective = Objective(metric, direction, tuple(own), statistic)
    assert parse_objective(objective_text(objective)) == objective
    assert Objective.from_json(objective.to_json()) == objective


def test_every_short_name_means_one_metric() -> None:
    shorts = [short for metric in METRICS.values() for short in metric.short]
    assert len(shorts) == len(set(shorts))
    assert not set(shorts) & set(METRICS)


def test_every_word_is_defined_in_the_docs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "objectives.md").read_text()
    for metric in METRICS.values():
        words = ", ".join(f"`{word}`" for word in metric.short)
        # A name that is its own word may stand in both columns.
        rows = [f"| {words or ''}{' ' if words else ''}| `{metric.name}` | {metric.each} | {metric.meaning} |"]
        rows.append(f"| `{metric.name}` | `{metric.name}` | {metric.each} | {metric.meaning} |")
        assert any(row in page for row in rows), rows[0]
