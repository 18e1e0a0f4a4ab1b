"""Agents of users' own: a class in a file, wherever an agent's name is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_campaign import TASK, FormulaRunner
from tuner.agents import agent_class, create_agent, lasting_name
from tuner.campaign import Campaign
from tuner.cli.spec import read_spec
from tuner.db import MemoryStore
from tuner.errors import SpecError, TunerError
from tuner.objective import Objective
from tuner.plan import Budget, Plan
from tuner.result import Progress
from tuner.search_spaces import Parameter, SearchSpace
from tuner.types import Config

ROOT = Path(__file__).parents[2]
OWN = "examples/own_agent.py:Climber"
SPEC = "agent: {}\nbudget: {{trials: 4}}\ntasks:\n- kernel: tuner.testing.toys:PARABOLA\n  workloads: [{{N: 9}}]\n"


def test_a_campaign_with_one_s_own_agent_is_resumed_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, runner = MemoryStore(), FormulaRunner((0.01,))

    def watch(progress: Progress) -> None:
        if progress.trials == 5:
            campaign.stop()

    monkeypatch.chdir(ROOT)
    campaign = Campaign([TASK], Plan(agent=OWN, budget=Budget(trials=16)), runner=runner, store=store, watch=watch)
    [result] = campaign.run()
    assert result.interrupted
    kept = store.trials(campaign.id, TASK)

    monkeypatch.chdir(tmp_path)
    again = FormulaRunner()
    resumed = Campaign.resume(campaign.id, runner=again, store=store)
    [result] = resumed.run()
    assert resumed.plan.agent == f"{ROOT / 'examples' / 'own_agent.py'}:Climber"
    assert not set(again.submitted) & {trial.config for trial in kept}
    assert (result.trials, result.config) == (16, Config(X=9, FAULT="none"))


def test_a_specification_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.format(OWN))
    assert read_spec(spec).plan.agent == OWN
    spec.write_text(SPEC.format("nowhere.py:Climber"))
    with pytest.raises(SpecError, match=r"spec\.yaml:1: no such file: .*nowhere\.py"):
        read_spec(spec)


def test_one_s_own_agent_learns_from_sources_if_it_says_so(tmp_path: Path) -> None:
    file = tmp_path / "learner.py"
    file.write_text(
        "from tuner.agents.random import RandomAgent\nclass Learner(RandomAgent):\n    learns_from_sources = True\n"
    )
    assert agent_class(f"{file}:Learner").learns_from_sources
    assert not agent_class(f"{ROOT / OWN}").learns_from_sources


def test_what_is_no_agent_is_refused() -> None:
    space = SearchSpace([Parameter.integer("A", 1, 9)])
    with pytest.raises(TunerError, match="is not a class that extends"):
        create_agent("tuner.types:Config", space, Objective(), seed=0)
    with pytest.raises(TunerError, match="unknown agent 'own_agent'"):
        create_agent("own_agent:Climber", space, Objective(), seed=0)


def test_installed_agents_keep_their_variants() -> None:
    # A variant may look like the attribute of a module.
    assert lasting_name("policy:runs/best.v2:final") == "policy:runs/best.v2:final"
    assert agent_class("policy:runs/best.v2:final") is agent_class("policy")
