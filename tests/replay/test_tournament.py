from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.replay.spaces import valley, write_space
from tuner.errors import StoreError, TunerError
from tuner.replay import Prior, Rules, judge


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return write_space(tmp_path / "toy_gpu.json", valley, kernel="toy", device="Test GPU")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read .*none\.json"):
        judge([tmp_path / "none.json"], ["random"], Rules(5, 1))


def test_exhaustive_search_scores_as_calculated(recorded: Path) -> None:
    """It walks A=0 (four failures), then A=1, B=0, 1, 2, ...: nothing, then 1/7, 1/6, 1/5 of the optimum."""
    seen: list[tuple[int, int]] = []
    [score] = judge([recorded], ["exhaustive"], Rules(32, 2), watch=lambda *counts: seen.append(counts))
    assert score.size == 32
    assert len(score.runs) == 2
    assert score.figures["f10"] == pytest.approx([1 / 5] * 2)
    assert score.figures["f25"] == pytest.approx([1.0] * 2)
    assert score.figures["to_5_percent"] == (5 * 4 + 3,) * 2
    assert score.figures["hit"] == (1, 1)
    assert seen[-1] == (2, 2)


def test_a_run_that_does_not_get_there_counts_all_its_trials(recorded: Path) -> None:
    [score] = judge([recorded], ["exhaustive"], Rules(10, 1))
    assert (score.figures["to_5_percent"], score.figures["hit"]) == ((10,), (0,))


def test_agents_come_in_their_order_on_all_spaces(recorded: Path, tmp_path: Path) -> None:
    other = write_space(tmp_path / "other_gpu.json", valley, kernel="other", device="Test GPU")
    scores = judge([recorded, other], ["random", "exhaustive"], Rules(5, 2))
    assert [(score.agent, score.space) for score in scores] == [
        ("random", "toy_gpu"),
        ("random", "other_gpu"),
        ("exhaustive", "toy_gpu"),
        ("exhaustive", "other_gpu"),
    ]


def test_seeds_begin_where_they_are_told_to(recorded: Path) -> None:
    [both] = judge([recorded], ["random"], Rules(8, 2))
    [second] = judge([recorded], ["random"], Rules(8, 1, first_seed=1))
    assert second.runs[0].curve == both.runs[1].curve


def test_the_environment_is_as_before(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    judge([recorded], ["random"], Rules(2, 1))
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_an_agent_that_is_not_there(recorded: Path) -> None:
    with pytest.raises(TunerError, match="unknown agent 'best'"):
        judge([recorded], ["best"], Rules(10, 1))


def test_a_space_is_not_its_own_prior(recorded: Path) -> None:
    with pytest.raises(TunerError, match="leave it out of its own prior"):
        judge([recorded], ["random"], Rules(10, 1), priors=[Prior((recorded.parent / "." / recorded.name,))])


@pytest.mark.parametrize("rules", [{"trials": 0}, {"seeds": 0}, {"batch": -1}, {"first_seed": -1}])
def test_rules_that_allow_nothing(rules: dict[str, int]) -> None:
    with pytest.raises(TunerError, match=r"is not positive|is negative"):
        Rules(**rules)
