from __future__ import annotations

from collections.abc import Callable

from tuner.db import MemoryStore
from tuner.objective import Direction, Objective
from tuner.report.chart import charts, rows
from tuner.report.command import campaign_yaml, tune_command
from tuner.report.data import Importance, gather
from tuner.report.drawing import png_of
from tuner.report.page import judge, render
from tuner.report.palette import LIGHT

Made = tuple[MemoryStore, str]
Make = Callable[..., Made]

BOTH = Objective("seconds", beside=(Objective("code_bytes", Direction.MAXIMIZE),))


def test_a_front_is_drawn_and_listed(made: Make) -> None:
    report = gather(*made(objective=BOTH, promoted=None))
    [task] = report.tasks
    assert task.front
    numbers = {trial.number for trial in task.front}
    table = rows(task, Importance())["front"]
    assert {n for n, on in zip(table["n"], table["on"], strict=True) if on} == numbers
    assert len(table["n"]) == len(task.usable)
    # From the fastest to the largest, each is slower and larger than the one before.
    points = [
        (one.value(trial.measurement), two.value(trial.measurement))
        for trial in task.front
        for one, two in [BOTH.every]
    ]
    assert [size for _, size in points] == sorted(size for _, size in points if size is not None)
    drawn = {chart.name: chart for chart in charts(task, Importance(), LIGHT)}
    assert png_of(drawn["front-1"].spec, {"front": table}).startswith(b"\x89PNG")
    page = render(report, judge(report), store=None)
    assert "<h3>The front</h3>" in page
    assert "code_bytes (more is better)" in page
    assert page.count("<td>picked</td>") == 1


def test_a_campaign_of_one_objective_has_no_front(made: Make) -> None:
    report = gather(*made())
    assert "<h3>The front</h3>" not in render(report, judge(report), store=None)
    assert not any(chart.name.startswith("front") for chart in charts(report.tasks[0], Importance(), LIGHT))


def test_commands_repeat_a_front(made: Make) -> None:
    report = gather(*made(objective=BOTH))
    command = tune_command(report, report.tasks[0], None)
    assert command is not None
    assert "--objective 'minimize seconds' --objective 'maximize code_bytes' --pick knee" in command
    assert "objective: [minimize seconds, maximize code_bytes]\npick: knee\n" in campaign_yaml(report)
