from __future__ import annotations

import json
import random
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.replay.spaces import valley, write_space
from tuner.db.kernel_tuner import RecordedSpace, read_cache_file
from tuner.errors import MissingDependencyError, TunerError
from tuner.replay import Prior, Rules, judge
from tuner.replay.rival import play_rival, require_rival

kernel_tuner = pytest.importorskip("kernel_tuner", reason="pip install 'rltuner[bench]'")

STRATEGIES = ["genetic_algorithm", "pso", "random_sample", "adaptive_tabu_greywolf", "simulated_annealing"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_space(tmp_path / "toy_gpu.json", valley, kernel="toy", device="Test GPU")


@pytest.fixture
def recorded(path: Path) -> RecordedSpace:
    return read_cache_file(path)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_stays_in_its_budget_and_starts_afresh(recorded: RecordedSpace, strategy: str) -> None:
    first, again = (play_rival(f"kernel_tuner:{strategy}", recorded, 20, seed=3) for _ in range(2))
    assert first.curve == again.curve
    assert 1 <= len(first.curve) <= 20
    assert list(first.curve) == sorted(first.curve, reverse=True)
    assert [proposal.observations for proposal in first.proposals] == list(range(len(first.curve)))
    assert len({play_rival(f"kernel_tuner:{strategy}", recorded, 20, seed).curve for seed in range(6)}) > 1


def test_global_generators_are_left_as_they_were(recorded: RecordedSpace) -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    play_rival("kernel_tuner:pso", recorded, 10, seed=3)
    assert random.random() == expected


def test_flags_are_numbers_to_kernel_tuner(tmp_path: Path) -> None:
    path = tmp_path / "flags_gpu.json"
    entries = {
        f"{a},{flag}": {"A": a, "FLAG": flag, "time": 1.0 + a + flag} for a in range(30) for flag in (False, True)
    }
    names = {"tune_params_keys": ["A", "FLAG"], "tune_params": {"A": list(range(30)), "FLAG": [False, True]}}
    path.write_text(json.dumps({**names, "cache": entries}))
    recorded = read_cache_file(path)
    for seed in range(5):
        assert play_rival("kernel_tuner:greedy_ils", recorded, 50, seed).curve[-1] == pytest.approx(1e-3)


def asking(monkeypatch: pytest.MonkeyPatch, *batches: list[list[Any]]) -> list[float]:
    """Let a strategy ask for `batches`, and return the costs that it was told."""
    from kernel_tuner import interface
    from kernel_tuner.strategies.common import CostFunc

    costs: list[float] = []

    def tune(searchspace: Any, runner: Any, options: Any) -> None:
        cost = CostFunc(searchspace, options, runner)
        for batch in batches:
            costs.extend(cost.eval_all(batch))

    monkeypatch.setitem(interface.strategy_map, "listed", SimpleNamespace(tune=tune))
    return costs


def test_what_is_known_or_not_in_the_space_costs_nothing_and_a_failure_does(
    recorded: RecordedSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, failing = [5, 2], [0, 0]
    costs = asking(monkeypatch, [[4, 2], [4, 2], failing], [failing, best])
    run = play_rival("kernel_tuner:listed", recorded, 10, seed=0)
    assert run.curve == pytest.approx((2e-3, 2e-3, 1e-3))
    assert costs[0] == costs[1] == pytest.approx(2.0)
    assert costs[2] == costs[3] > 1e300
    assert costs[4] == pytest.approx(1.0)


def test_a_config_that_was_not_recorded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_space(tmp_path / "toy_gpu.json", valley, kernel="toy", device="Test GPU", without=[(4, 2)])
    costs = asking(monkeypatch, [[4, 2], [5, 2]])
    assert play_rival("kernel_tuner:listed", read_cache_file(path), 10, seed=0).curve == pytest.approx((1e-3,))
    assert costs[0] > 1e300


def test_the_budget_ends_a_run(recorded: RecordedSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    asking(monkeypatch, *[[[a, b]] for a in range(1, 8) for b in range(4)])
    assert len(play_rival("kernel_tuner:listed", recorded, 10, seed=0).curve) == 10


def test_a_strategy_that_goes_round_in_circles_ends(recorded: RecordedSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    asking(monkeypatch, *[[[5, 2]]] * 30_000)
    assert len(play_rival("kernel_tuner:listed", recorded, 10, seed=0).curve) == 1


def test_a_strategy_that_breaks(recorded: RecordedSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    asking(monkeypatch, [[1]])
    with pytest.raises(TunerError, match="kernel_tuner:listed broke on toy_gpu: "):
        play_rival("kernel_tuner:listed", recorded, 10, seed=0)


@pytest.mark.parametrize("name", ["kernel_tuner:best", "kernel_tuner", "other:pso"])
def test_a_rival_that_is_not_there(name: str) -> None:
    with pytest.raises(TunerError, match=rf"unknown rival '{name}'; write kernel_tuner:NAME with .*genetic_algorithm"):
        require_rival(name)


def test_kernel_tuner_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> ModuleType:
        raise ModuleNotFoundError(name=name.partition(".")[0])

    monkeypatch.setattr("tuner.replay.rival.importlib.import_module", gone)
    with pytest.raises(
        MissingDependencyError, match=r"need the package 'kernel_tuner'; pip install 'rltuner\[bench\]'"
    ):
        require_rival("kernel_tuner:pso")


def test_rivals_are_judged_beside_agents_and_know_no_prior(path: Path, tmp_path: Path) -> None:
    other = write_space(tmp_path / "toy_cpu.json", valley, kernel="toy", device="Test CPU")
    priors = [Prior((other,))]
    scores = judge([path], ["random", "kernel_tuner:pso"], Rules(10, 2), priors=priors)
    assert [(score.agent, score.prior) for score in scores] == [("random", ("toy_cpu",)), ("kernel_tuner:pso", ())]
    recorded = read_cache_file(path)
    assert scores[1].runs[1].curve == play_rival("kernel_tuner:pso", recorded, 10, seed=1).curve
