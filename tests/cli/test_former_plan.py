"""Campaigns that an earlier version stored, by rules that a new one would refuse: they are shown all the same."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tuner.campaign import task_of
from tuner.cli import app
from tuner.db import CampaignState
from tuner.db.sql import open_store
from tuner.errors import TunerError
from tuner.types import Config, Measurement, Status, Trial

# As version 0.1 wrote it: no schedule, no precision, and finals too short to prove anything at this confidence.
SPEC = {
    "agent": "random",
    "budget": {"trials": 20, "seconds": None},
    "objective": {"metric": "seconds", "direction": "minimize", "limits": []},
    "finals": {
        "finalists": 5,
        "semifinal_rounds": 10,
        "rounds": 10,
        "seconds": 30.0,
        "threshold": 1.0,
        "confidence": 0.99,
    },
    "seed": 0,
    "in_flight": 2,
}


@pytest.fixture
def kept(tmp_path: Path) -> tuple[str, str]:
    """A store with such a campaign, interrupted after a trial."""
    url, task = str(tmp_path / "store.db"), task_of("tuner.testing.toys:PARABOLA", {"N": 3})
    with contextlib.closing(open_store(url)) as store:
        campaign = store.create_campaign(SPEC, [task])
        samples = {"seconds": (1e-3,) * 5, "reference_seconds": (1e-3,) * 5}
        store.add_trial(task, Trial(Config(X=0, FAULT="none"), Measurement(Status.CORRECT, samples), campaign, 0))
        store.set_campaign_state(campaign, CampaignState.INTERRUPTED)
    return url, campaign


def told(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_it_is_shown_and_reported(kept: tuple[str, str], tmp_path: Path) -> None:
    url, campaign = kept
    shown = told("campaign", "show", campaign, "--store", url, "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout.splitlines()[-1])["plan"] == SPEC
    page = tmp_path / "page.html"
    reported = told("report", campaign, "--store", url, "--out", str(page))
    assert reported.exit_code == 0, reported.output
    assert "Interrupted before the final" in page.read_text(encoding="utf-8")


def test_it_does_not_go_on_by_rules_that_prove_nothing(kept: tuple[str, str]) -> None:
    url, campaign = kept
    refused = told("campaign", "resume", campaign, "--store", url)
    assert isinstance(refused.exception, TunerError)
    assert "rounds=10 show nothing" in str(refused.exception)
