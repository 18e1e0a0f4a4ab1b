"""A final that had too few pairs: it says so everywhere, and is not told as one that nobody reached."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tuner.campaign import Campaign, task_of
from tuner.cli import app
from tuner.db.sql import open_store
from tuner.plan import Budget, Plan
from tuner.report.advice import advice
from tuner.report.data import Importance, Outcome, gather
from tuner.report.verdict import headline
from tuner.runners import LocalRunner
from tuner.types import Config, Evidence, Measurement, Sampling, Task

TASK = task_of("tuner.testing.toys:PARABOLA", {"N": 9})


class FewPairs(LocalRunner):
    """Has time for five pairs of a comparison."""

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        return super().compare(task, configs, replace(sampling, rounds=5), fresh=fresh)


@pytest.fixture
def ran(tmp_path: Path) -> tuple[str, str]:
    """A store with a campaign, and the campaign."""
    url = str(tmp_path / "store.db")
    with contextlib.closing(open_store(url)) as store, contextlib.closing(FewPairs()) as runner:
        campaign = Campaign([TASK], Plan(agent="random", budget=Budget(16)), runner=runner, store=store)
        [result] = campaign.run()
    assert result.speedup == pytest.approx(82)
    assert (result.speedup_interval, result.promoted, result.rejected) == (None, False, ())
    return url, campaign.id


def told(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_is_kept_and_told_as_what_it_is(ran: tuple[str, str]) -> None:
    url, campaign = ran
    with contextlib.closing(open_store(url)) as store:
        kept = Evidence.from_json(store.outcomes(campaign)[TASK.key]["final"]["evidence"])
        report = gather(store, campaign)
    assert (kept.interval, kept.rounds) == ((0.0, math.inf), 5)
    [task] = report.tasks
    assert task.outcome is Outcome.UNDECIDED
    assert task.final is None
    assert headline(task) == "The default is kept: the final had too few pairs to tell"
    assert any("fewer than 13 pairs" in one for one in advice(report, task, Importance()))


def test_commands_show_it_and_their_json_has_no_infinity(ran: tuple[str, str], tmp_path: Path) -> None:
    url, campaign = ran
    assert "too few pairs to tell" in told("campaign", "show", campaign, "--store", url)
    page = tmp_path / "page.html"
    for words in (["campaign", "show", campaign], ["report", campaign, "--out", str(page)]):
        line = told(*words, "--store", url, "--json").splitlines()[-1]
        data = json.loads(line, parse_constant=pytest.fail)
        [one] = data.get("results") or data["tasks"]
        assert one["speedup_interval"] is None
    assert "The default is kept: the final had too few pairs to tell" in page.read_text(encoding="utf-8")
