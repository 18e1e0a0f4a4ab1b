"""A finalist that is out, and why: in the result, in its JSON, and for people."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from typer.testing import CliRunner

from tuner.campaign import Campaign, task_of
from tuner.cli import app
from tuner.db.sql import open_store
from tuner.plan import Budget, Plan
from tuner.result import Result
from tuner.runners import LocalRunner
from tuner.runners.futures import then
from tuner.types import Config, Measurement, Sampling, Status, Task

TASK = task_of("tuner.testing.toys:PARABOLA", {"N": 9})
WHY = "X=9 FAULT=none: correctness: output 'out' [is] wrong"


class Strict(LocalRunner):
    """Finds what the search holds for the best wrong in the finals."""

    def compare(
        self, task: Task, configs: Sequence[Config], sampling: Sampling, *, fresh: bool = True
    ) -> Future[list[Measurement]]:
        def judged(measurements: Sequence[Measurement]) -> list[Measurement]:
            return [
                replace(one, status=Status.CORRECTNESS, error="output 'out' [is] wrong") if config["X"] == 9 else one
                for config, one in zip(configs, measurements, strict=True)
            ]

        return then(super().compare(task, configs, sampling, fresh=fresh), judged)


def test_a_finalist_that_is_out_is_told_with_the_reason(tmp_path: Path) -> None:
    url = str(tmp_path / "store.db")
    with contextlib.closing(open_store(url)) as store, contextlib.closing(Strict()) as runner:
        campaign = Campaign([TASK], Plan(agent="random", budget=Budget(16)), runner=runner, store=store)
        [result] = campaign.run()
        kept = store.outcomes(campaign.id)[TASK.key]
    assert result.rejected == (WHY,)
    assert result.promoted
    assert result.config["X"] in (8, 10)
    assert Result.from_json(TASK, kept) == result
    before = {name: value for name, value in kept.items() if name != "rejected"}
    assert Result.from_json(TASK, before).rejected == ()

    shown = CliRunner().invoke(app, ["campaign", "show", campaign.id, "--store", url])
    assert f"  out in the finals: {WHY}\n" in shown.stdout
    told = CliRunner().invoke(app, ["campaign", "show", campaign.id, "--store", url, "--json"])
    assert json.loads(told.stdout.splitlines()[-1])["results"][0]["rejected"] == [WHY]
