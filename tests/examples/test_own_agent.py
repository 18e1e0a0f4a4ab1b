from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.replay.spaces import write_space
from tuner.agents import Agent
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.reference import import_reference
from tuner.replay import Rules, estimates, judge
from tuner.search_spaces import SearchSpace
from tuner.testing.agent import AgentContract

REFERENCE = str(Path(__file__).parents[2] / "examples" / "own_agent.py") + ":Climber"


class TestClimber(AgentContract):
    def make(self, space: SearchSpace, objective: Objective, seed: int) -> Agent:
        kind = import_reference(REFERENCE)
        assert isinstance(kind, type)
        agent = kind(space, objective, seed=seed)
        assert isinstance(agent, Agent)
        return agent


def test_it_climbs_faster_than_chance(tmp_path: Path) -> None:
    path = write_space(
        tmp_path / "hill.json", lambda a, b: 1e-3 * (1 + abs(a - 5) + 3 * abs(b - 2)), kernel="hill", device="any"
    )
    random, climber = judge([path], ["random", REFERENCE], Rules(trials=16, seeds=20))
    assert estimates([climber])["f10"].value > estimates([random])["f10"].value
    assert climber.agent == REFERENCE
    assert all(np.isfinite(run.curve).all() for run in climber.runs)


def test_it_has_the_length_that_it_claims() -> None:
    lines = Path(REFERENCE.removesuffix(":Climber")).read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 30


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (REFERENCE.replace("Climber", "Config"), "is not a class that extends"),
        (REFERENCE.replace("Climber", "Diver"), "has no attribute 'Diver'"),
        ("nowhere/agent.py:Climber", "no such file"),
        ("no.such.module:Climber", "there is no module no.such.module"),
    ],
)
def test_references_that_are_no_agents(reference: str, message: str, tmp_path: Path) -> None:
    path = write_space(tmp_path / "hill.json", lambda a, b: 1e-3 * (1 + a + b), kernel="hill", device="any")
    with pytest.raises(TunerError, match=message):
        judge([path], [reference], Rules(1, 1))
