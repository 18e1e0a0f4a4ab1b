from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.replay.spaces import valley, write_space
from tuner.db.kernel_tuner import RecordedSpace, read_cache_file
from tuner.replay.play import Proposal, Run
from tuner.replay.score import Score, baseline_of, differences, estimates, proposal_time, score_of


@pytest.fixture
def recorded(tmp_path: Path) -> RecordedSpace:
    return read_cache_file(write_space(tmp_path / "toy_gpu.json", valley, kernel="toy", device="Test GPU"))


def run(curve: Sequence[float], proposals: Sequence[Proposal] = ()) -> Run:
    return Run(tuple(curve), tuple(proposals))


def scored(recorded: RecordedSpace, *runs: Run, trials: int = 25) -> Score:
    return score_of(recorded, baseline_of(recorded), "agent", runs, trials)


def test_figures_of_each_run(recorded: RecordedSpace) -> None:
    """The optimum is 1 ms: one run gets there at its twelfth evaluation, one finds nothing, one ends early at 2 ms."""
    slow, lost, early = [4e-3] * 11 + [1.04e-3] * 14, [math.inf] * 25, [2e-3] * 5
    score = scored(recorded, run(slow), run(lost), run(early))
    assert score.figures["f10"] == pytest.approx((1 / 4, 0, 1 / 2))
    assert score.figures["f25"] == pytest.approx((1 / 1.04, 0, 1 / 2))
    assert "f50" not in score.figures
    assert score.figures["to_5_percent"] == (12, 25, 25)
    assert score.figures["hit"] == (1, 0, 0)
    assert score.figures["evaluations"] == (25, 25, 5)
    baseline = baseline_of(recorded)
    assert score.figures["score"] == pytest.approx([baseline.score(c) for c in (slow, lost, [2e-3] * 25)])
    assert (score.budget, score.size) == (baseline.budget(25), 32)
    assert score.optimum_seconds == pytest.approx(1e-3)


def test_plain_data_hold_every_run(recorded: RecordedSpace) -> None:
    data = scored(recorded, run([2e-3] * 25), run([1e-3] * 25)).to_json()
    assert data["figures"]["f10"]["value"] == pytest.approx(0.75)
    assert data["runs"]["f10"] == pytest.approx([0.5, 1.0])
    assert data["figures"]["f10"]["low"] < 0.75 < data["figures"]["f10"]["high"]


def test_spaces_count_alike_and_differ_more_than_seeds(recorded: RecordedSpace) -> None:
    good, bad = scored(recorded, *[run([1e-3] * 25)] * 5), scored(recorded, *[run([4e-3] * 25)] * 5)
    assert estimates([good])["f10"].low == estimates([good])["f10"].high == 1.0
    both = estimates([good, bad])["f10"]
    assert (both.value, both.low, both.high) == pytest.approx((0.625, 0.25, 1.0))


def test_agents_are_compared_space_by_space(recorded: RecordedSpace) -> None:
    """Each is twice as good as the other's: what the spaces differ by does not enter."""
    easy, hard = [scored(recorded, *[run([time] * 25)] * 5) for time in (1e-3, 4e-3)]
    slow_easy, slow_hard = [scored(recorded, *[run([time] * 25)] * 5) for time in (1e-3, 4e-3)]
    gain = differences([easy, hard], [slow_easy, slow_hard])["f10"]
    assert (gain.value, gain.low, gain.high) == (0.0, 0.0, 0.0)
    assert differences([easy], [hard])["f10"].value == pytest.approx(0.75)


def test_the_time_of_proposals_near_a_hundred_observations(recorded: RecordedSpace) -> None:
    proposals = [Proposal(observations, observations / 1000) for observations in range(200)]
    time = proposal_time([scored(recorded, run([1e-3] * 200, proposals), trials=200)], 200)
    assert time is not None
    assert time.observations == 100
    assert time.median_seconds == pytest.approx(0.1)
    assert 0.1 < time.p95_seconds <= 0.11
    short = proposal_time([scored(recorded, run([1e-3] * 50, proposals[:50]), trials=50)], 50)
    assert short is not None
    assert short.observations == 49
    assert short.median_seconds == pytest.approx(0.047, abs=1e-3)
    assert proposal_time([scored(recorded, run([1e-3] * 50), trials=50)], 50) is None
