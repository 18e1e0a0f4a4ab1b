from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_cli import last_json, tuner
from tests.replay.spaces import valley, write_space
from tuner.cli.replay import _contenders


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    spaces = [("conv", "red"), ("conv", "blue"), ("gemm", "red")]
    return [
        str(write_space(tmp_path / f"{kernel}_{device}.json", valley, kernel=kernel, device=device))
        for kernel, device in spaces
    ]


def test_agents_and_their_figures(files: list[str]) -> None:
    options = ("--agent", "random,exhaustive", "--trials", "25", "--seeds", "3")
    done = tuner("replay", *files, *options, "--json")
    found = last_json(done)
    told = {"prior_records": None, "prior_spaces": None, "prior_shuffled": False}
    assert found["rules"] == {"trials": 25, "seeds": 3, "batch": 1, "first_seed": 0, **told}
    random, exhaustive = found["agents"]
    assert (random["agent"], exhaustive["agent"]) == ("random", "exhaustive")
    assert [space["space"] for space in random["spaces"]] == ["conv_red", "conv_blue", "gemm_red"]
    assert set(exhaustive["mean"]) == {"f10", "f25", "score", "to_5_percent", "hit", "evaluations"}
    assert exhaustive["mean"]["f10"] == pytest.approx({"value": 0.2, "low": 0.2, "high": 0.2})
    assert exhaustive["spaces"][0]["runs"]["to_5_percent"] == [23, 23, 23]
    assert set(random["kernels"]) == {"conv", "gemm"}
    assert random["proposal"]["median_seconds"] > 0
    assert "over_the_first" not in random
    gain = exhaustive["over_the_first"]["f10"]
    assert gain["value"] == pytest.approx(exhaustive["mean"]["f10"]["value"] - random["mean"]["f10"]["value"])
    assert "conv: 2 spaces" in done.stderr
    assert "score over random" in done.stderr


@pytest.mark.parametrize(
    ("options", "prior"),
    [
        (["--prior", "conv_blue.json", "--prior", "gemm_red.json"], {"conv_red": ["conv_blue", "gemm_red"]}),
        (["--leave-one-device-out"], {"conv_red": ["conv_blue"], "conv_blue": ["conv_red"]}),
        (["--leave-one-out"], {"conv_red": ["conv_blue"], "conv_blue": ["conv_red"]}),
        (["--leave-one-kernel-out"], {"conv_red": ["gemm_red"], "gemm_red": ["conv_red"]}),
    ],
)
def test_what_agents_are_told_before(files: list[str], options: list[str], prior: dict[str, list[str]]) -> None:
    folder = Path(files[0]).parent
    words = [str(folder / word) if word.endswith(".json") else word for word in options]
    chosen = [str(folder / f"{name}.json") for name in prior]
    settings = ("--agent", "random", "--trials", "10", "--seeds", "1", "--prior-records", "5", "--batch", "3")
    [found] = last_json(tuner("replay", *chosen, *words, *settings, "--json"))["agents"]
    assert {space["space"]: space["prior"] for space in found["spaces"]} == prior


def test_rivals_alone(files: list[str]) -> None:
    pytest.importorskip("kernel_tuner", reason="pip install 'rltuner[bench]'")
    options = ("--rival", "kernel_tuner:random_sample", "--trials", "10", "--seeds", "1", "--json")
    [found] = last_json(tuner("replay", files[0], *options))["agents"]
    assert found["agent"] == "kernel_tuner:random_sample"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0"], "--seeds 0 is not positive"),
        (["--prior-records", "0"], "--prior-records 0 is not positive"),
        (["--prior-records", "5"], "--prior-records says what of a prior is told; give --prior FILE, or leave one out"),
        (["--prior-spaces", "0"], "--prior-spaces 0 is not positive"),
        (["--prior-shuffled"], "--prior-shuffled says what of a prior is told"),
        (["--leave-one-device-out", "--leave-one-kernel-out"], "contradict each other"),
        (["--leave-one-device-out", "--prior", "x.json"], "both choose the prior"),
        (["--leave-one-kernel-out"], "conv_red has no prior"),
        (["--agent", "best"], "unknown agent 'best'"),
        (["--out", "x.pdf"], "let its name end in .html or .png"),
    ],
)
def test_what_is_refused(files: list[str], options: list[str], message: str) -> None:
    done = tuner("replay", files[0], *options, check=False)
    assert done.returncode == 1
    assert message in done.stderr


def test_a_page(files: list[str], tmp_path: Path) -> None:
    options = ("--agent", "random", "--trials", "10", "--seeds", "2")
    page = tmp_path / "page.html"
    assert str(page) in tuner("replay", *files, *options, "--out", str(page)).stdout
    assert "conv_red" in page.read_text()
    assert f"tuner replay {files[0]}" in page.read_text()


@pytest.mark.parametrize(
    ("words", "agents"),
    [
        ("random", ["random"]),
        ("random,optuna:gp", ["random", "optuna:gp"]),
        ("policy:some.zip,adapt,random", ["policy:some.zip,adapt", "random"]),
        ("random,own/agent.py:Own,my.module:Other", ["random", "own/agent.py:Own", "my.module:Other"]),
        ("best,random", ["best", "random"]),
    ],
)
def test_commas_part_agents_but_not_variants(words: str, agents: list[str]) -> None:
    assert _contenders(words, []) == agents


def test_auto_is_the_agent_unless_there_is_a_rival() -> None:
    assert _contenders(None, []) == ["auto"]
    assert _contenders(None, ["kernel_tuner:pso"]) == ["kernel_tuner:pso"]
    assert _contenders("random", ["kernel_tuner:pso"]) == ["random", "kernel_tuner:pso"]
