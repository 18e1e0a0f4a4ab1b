from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.replay.spaces import valley, write_space
from tuner.agents import Agent
from tuner.db.kernel_tuner import RecordedSpace, read_cache_file
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.replay.play import play
from tuner.types import Config, Status, Trial


class Listed(Agent):
    """Proposes what it was given, and keeps what it was asked and told."""

    def __init__(self, recorded: RecordedSpace, configs: Sequence[Config]) -> None:
        super().__init__(recorded.space, Objective(), seed=0)
        self.left = list(configs)
        self.asked: list[int] = []
        self.told: list[list[Trial]] = []

    def ask(self, count: int) -> list[Config]:
        self.asked.append(count)
        configs, self.left = self.left[:count], self.left[count:]
        return configs

    def tell(self, trials: Sequence[Trial]) -> None:
        self.told.append(list(trials))


@pytest.fixture
def recorded(tmp_path: Path) -> RecordedSpace:
    return read_cache_file(write_space(tmp_path / "toy_gpu.json", valley, kernel="toy", device="Test GPU"))


def test_the_curve_is_the_best_so_far(recorded: RecordedSpace) -> None:
    agent = Listed(recorded, [Config(A=0, B=0), Config(A=4, B=2), Config(A=1, B=0), Config(A=5, B=2)])
    assert play(agent, recorded, trials=10).curve == pytest.approx((float("inf"), 2e-3, 2e-3, 1e-3))


def test_a_batch_is_told_at_once_and_the_last_one_is_cut(recorded: RecordedSpace) -> None:
    agent = Listed(recorded, [Config(A=a, B=b) for a in range(3) for b in range(4)])
    run = play(agent, recorded, trials=10, batch=4)
    assert len(run.curve) == 10
    assert agent.asked == [4, 4, 2]
    assert [len(trials) for trials in agent.told] == [4, 4]
    assert [trial.number for trials in agent.told for trial in trials] == list(range(8))
    assert [proposal.observations for proposal in run.proposals] == [0, 4, 8]
    assert all(proposal.seconds >= 0 for proposal in run.proposals)
    assert agent.told[0][0].measurement.status is Status.RUNTIME


def test_a_repeated_config_costs_an_evaluation(recorded: RecordedSpace) -> None:
    assert len(play(Listed(recorded, [Config(A=4, B=2)] * 5), recorded, trials=3).curve) == 3


def test_a_config_of_another_space(recorded: RecordedSpace) -> None:
    with pytest.raises(TunerError, match=r"Listed proposed .*'A': 9.*not a config of toy_gpu"):
        play(Listed(recorded, [Config(A=9, B=0)]), recorded, trials=3)


def test_an_agent_that_proposes_nothing(recorded: RecordedSpace) -> None:
    with pytest.raises(TunerError, match="nothing at all"):
        play(Listed(recorded, []), recorded, trials=3)
