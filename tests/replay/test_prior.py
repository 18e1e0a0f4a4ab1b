from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.replay.spaces import valley, write_space
from tuner.agents import Agent, Source
from tuner.db.kernel_tuner import read_cache_file
from tuner.errors import TunerError
from tuner.replay import LeaveOut, Prior, Rules, judge, priors_of, require_priors
from tuner.replay.prior import source_of
from tuner.types import Status


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two kernels on two devices each, and one of them in two sizes on the first."""
    spaces = [("conv", "red"), ("conv", "blue"), ("gemm", "red"), ("gemm", "blue"), ("gemm", "red_small")]
    return {
        f"{kernel}_{device}": write_space(
            tmp_path / f"{kernel}_{device}.json", valley, kernel=kernel, device=device.removesuffix("_small")
        )
        for kernel, device in spaces
    }


def chosen(files: dict[str, Path], leave_out: LeaveOut) -> dict[str, set[str]]:
    paths = list(files.values())
    priors = priors_of(paths, [read_cache_file(path) for path in paths], leave_out, Prior(records=7))
    assert {prior.records for prior in priors} == {7}
    return {name: {path.stem for path in prior.paths} for name, prior in zip(files, priors, strict=True)}


def test_a_left_out_device_is_known_in_no_size(files: dict[str, Path]) -> None:
    assert chosen(files, LeaveOut.DEVICE) == {
        "conv_red": {"conv_blue"},
        "conv_blue": {"conv_red"},
        "gemm_red": {"gemm_blue"},
        "gemm_blue": {"gemm_red", "gemm_red_small"},
        "gemm_red_small": {"gemm_blue"},
    }


def test_a_space_by_itself_is_left_out(files: dict[str, Path]) -> None:
    assert chosen(files, LeaveOut.SPACE)["gemm_red"] == {"gemm_blue", "gemm_red_small"}
    assert chosen(files, LeaveOut.SPACE)["conv_red"] == {"conv_blue"}


def test_a_left_out_kernel_is_known_on_no_device(files: dict[str, Path]) -> None:
    gemm, conv = {"gemm_red", "gemm_blue", "gemm_red_small"}, {"conv_red", "conv_blue"}
    assert chosen(files, LeaveOut.KERNEL) == {
        "conv_red": gemm,
        "conv_blue": gemm,
        "gemm_red": conv,
        "gemm_blue": conv,
        "gemm_red_small": conv,
    }


@pytest.mark.parametrize(
    ("names", "leave_out", "message"),
    [
        (["conv_red", "gemm_red"], LeaveOut.SPACE, "conv_red has no prior: .*'conv' elsewhere"),
        (["conv_red", "gemm_red"], LeaveOut.DEVICE, "conv_red has no prior: .*'conv' on another device than 'red'"),
        (["conv_red", "conv_blue"], LeaveOut.KERNEL, "conv_red has no prior: .*another kernel than 'conv'"),
    ],
)
def test_nothing_left_to_know(files: dict[str, Path], names: list[str], leave_out: LeaveOut, message: str) -> None:
    paths = [files[name] for name in names]
    spaces = [read_cache_file(path) for path in paths]
    priors = priors_of(paths, spaces, leave_out)
    assert priors[0] == Prior()
    with pytest.raises(TunerError, match=message):
        require_priors(spaces, priors, leave_out)


def test_a_source_holds_records_drawn_by_its_seed(files: dict[str, Path]) -> None:
    recorded = read_cache_file(files["conv_red"])

    def draw(seed: int) -> Source:
        return source_of(recorded, 20, np.random.default_rng(seed))

    source = draw(1)
    assert source == draw(1)
    assert source.trials != draw(2).trials
    assert len({trial.config for trial in source.trials}) == 20
    assert all(trial.measurement == recorded.measurements[trial.config] for trial in source.trials)
    assert {Status.CORRECT, Status.RUNTIME} <= {trial.measurement.status for trial in source.trials}
    assert (source.task.tunable, source.task.device.name) == ("conv", "red")


@pytest.mark.parametrize("records", [None, 32, 1000])
def test_a_source_of_all_records(files: dict[str, Path], records: int | None) -> None:
    recorded = read_cache_file(files["conv_red"])
    source = source_of(recorded, records, np.random.default_rng(0))
    assert {trial.config for trial in source.trials} == set(recorded.measurements)


def test_no_records_at_all() -> None:
    with pytest.raises(TunerError, match="0 records"):
        Prior((), 0)
    with pytest.raises(TunerError, match="0 spaces"):
        Prior((), spaces=0)


def test_a_shuffled_source_has_the_same_times_at_other_configs(files: dict[str, Path]) -> None:
    recorded = read_cache_file(files["conv_red"])
    right, wrong = (source_of(recorded, 20, np.random.default_rng(1), shuffled=shuffled) for shuffled in (False, True))
    assert [trial.config for trial in wrong.trials] == [trial.config for trial in right.trials]

    def times(source: Source) -> list[str]:
        return [repr(trial.measurement) for trial in source.trials]

    assert sorted(times(wrong)) == sorted(times(right))
    assert times(wrong) != times(right)


def test_each_seed_is_told_of_so_many_files() -> None:
    paths = tuple(Path(name) for name in "abcde")
    drawn = [Prior(paths, spaces=2).drawn(seed) for seed in range(30)]
    assert {len(set(one)) for one in drawn} == {2}
    assert {path for one in drawn for path in one} == set(paths)
    assert drawn[3] == Prior(paths, spaces=2).drawn(3)
    assert Prior(paths, spaces=9).drawn(0) == Prior(paths).drawn(0) == paths


def test_each_run_is_told_its_prior(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent is made here, before any worker starts, as each worker makes it."""
    seen: list[list[Source]] = []

    def spy(name: str, space: object, objective: object, *, seed: int, sources: list[Source]) -> Agent:
        seen.append(sources)
        raise TunerError("seen enough")

    monkeypatch.setattr("tuner.replay.tournament.create_agent", spy)
    prior = Prior((files["conv_blue"], files["gemm_red"]), 5)
    for one in (prior, replace(prior, shuffled=True), replace(prior, spaces=1)):
        with pytest.raises(TunerError, match="seen enough"):
            judge([files["conv_red"]], ["random"], Rules(5, 1), priors=[one])
    [[blue, gemm], [wrong, _], single] = seen
    assert len(single) == 1
    assert [trial.config for trial in wrong.trials] == [trial.config for trial in blue.trials]
    assert wrong.trials != blue.trials
    assert [source.task.tunable for source in (blue, gemm)] == ["conv", "gemm"]
    assert len(blue.trials) == len(gemm.trials) == 5
    assert [trial.config for trial in blue.trials] != [trial.config for trial in gemm.trials]


def test_the_score_names_the_prior(files: dict[str, Path]) -> None:
    [score] = judge([files["conv_red"]], ["random"], Rules(5, 1), priors=[Prior((files["conv_blue"],), 5)])
    assert score.prior == ("conv_blue",)
    assert score.to_json()["prior"] == ["conv_blue"]
