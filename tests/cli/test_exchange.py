from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tuner.agents import create_agent
from tuner.cli import app
from tuner.db import CampaignState
from tuner.db.exchange import FORMATS
from tuner.db.kernel_tuner import read_cache_file
from tuner.db.sql import SqlStore
from tuner.devices import detect
from tuner.errors import ExchangeError, TunerError
from tuner.objective import Objective
from tuner.related import prior_text, related
from tuner.testing.toys import PARABOLA
from tuner.types import Config, Measurement, State, Status, Task, Trial, Workload

TOY = "tuner.testing.toys:PARABOLA"

CONFIG = {"BLOCK_SIZE_M": 16, "BLOCK_SIZE_N": 64, "BLOCK_SIZE_K": 128, "GROUP_SIZE_M": 1, "num_warps": 4}
CONFIG |= {"num_stages": 4}
NAME = "E=8,N=14336,device_name=NVIDIA_H200.json"


def run(*words: str | Path, store: Path) -> Any:
    """Return the JSON that a command ends with."""
    options = [] if words[0] == "formats" else ["--store", str(store)]
    done = CliRunner().invoke(app, [*map(str, words), *options, "--json"], catch_exceptions=False)
    if done.exception:
        raise done.exception
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tuned"
    made.mkdir()
    (made / NAME).write_text(json.dumps({"triton_version": "3.5.0", "64": CONFIG | {"num_warps": 8}, "1": CONFIG}))
    return made


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_a_folder_goes_in_and_comes_out(folder: Path, store: Path, tmp_path: Path) -> None:
    imported = run("import", "vllm", folder, store=store)
    assert [one["winner"] for one in imported["added"]] == [1, 2]
    assert imported["added"][0]["workload"] == {"E": 8, "N": 14336, "M": 64}
    assert imported["added"][0]["seconds"] is None
    assert run("import", "vllm", folder, store=store)["known"] == 2
    # Nobody has promoted them.
    with pytest.raises(ExchangeError, match="no promoted winner"):
        run("export", "vllm", "--out", tmp_path / "out", store=store)
    exported = run("export", "vllm", "--out", tmp_path / "out", "--state", "candidate", store=store)
    assert exported["files"] == [str(tmp_path / "out" / NAME)]
    assert (tmp_path / "out" / NAME).read_text() == json.dumps(json.loads((folder / NAME).read_text()), indent=4) + "\n"
    only = run(
        "export",
        "vllm",
        "--out",
        tmp_path / "one",
        "--state",
        "candidate",
        "-w",
        "M=1",
        "--target",
        "h200",
        store=store,
    )
    assert only["configs"] == 1


def test_nothing_of_a_bad_folder_stays(folder: Path, store: Path) -> None:
    (folder / NAME.replace("E=8", "E=9")).write_text('{"1": 7}')
    with pytest.raises(ExchangeError, match=r"E=9.*field '1' is 7"):
        run("import", "vllm", folder, store=store)
    assert not store.exists()


def test_findings_of_a_kernel_of_ours_can_be_promoted(folder: Path, store: Path) -> None:
    options = ("--kernel", "triton:fused_moe", "-w", "K=4096", "-w", "TOPK=2")
    imported = run("import", "vllm", folder, *options, store=store)
    assert imported["added"][1]["workload"]["N"] == 28672
    run("promote", "2", "--why", "measured by hand", store=store)
    asked = ("-w", "T=1", "-w", "N=28672", "-w", "K=4096", "-w", "E=8", "-w", "TOPK=2")
    found = run("best", "triton:fused_moe", *asked, "--target", "h200", store=store)
    assert (found["config"], found["winner"]["speedup"]) == (CONFIG, None)
    listed = run("winners", "--state", "all", store=store)["winners"]
    assert {one["state"] for one in listed} == {"candidate", "promoted"}


def test_foreign_winners_trouble_no_other_command(folder: Path, store: Path) -> None:
    run("import", "vllm", folder, store=store)
    run("promote", "1", "--why", "of theirs", store=store)
    run("winners", "--state", "all", store=store)
    run("history", "1", store=store)
    run("stale", store=store)
    run("snapshot", "--out", store.with_suffix(".json"), "--all", store=store)


def recorded(store: Path) -> tuple[str, list[Trial]]:
    """Return a campaign with a trial of each config of a toy, and the trials."""
    workload, device = Workload(N=3), detect("cpu")
    task = Task(TOY, PARABOLA.version, workload, device)
    opened = SqlStore(store)
    campaign = opened.create_campaign({}, [task])
    trials = []
    for number, config in enumerate(PARABOLA.search_space(workload, device).iterate()):
        seconds = 1e-3 * (1 + (config.integer("X") - 3) ** 2)
        measurement = Measurement(Status.CORRECT, {"seconds": (seconds, seconds)})
        trials.append(Trial(config, measurement, campaign, number))
        opened.add_trial(task, trials[-1])
    opened.close()
    return campaign, trials


@pytest.mark.parametrize(("name", "file"), [("t4", "results.json"), ("kernel-tuner", "cache.json")])
def test_trials_of_a_campaign_go_out_and_in(store: Path, tmp_path: Path, name: str, file: str) -> None:
    campaign, trials = recorded(store)
    out = tmp_path / file
    assert run("export", name, "--out", out, "--campaign", campaign[:4], store=store)["configs"] == 16
    assert run("export", name, "--out", out, store=store)["configs"] == 16
    recording = tmp_path / "recording.json.gz"
    imported = run("import", name, out, "--recording", recording, store=tmp_path / "other.db")
    [best] = imported["added"]
    assert (best["config"], best["kernel"]) == ({"X": 3, "FAULT": "none"}, TOY)
    assert best["seconds"] == pytest.approx(1e-3)
    assert imported["trials"] == 16
    space = read_cache_file(recording)
    assert set(space.measurements) == {trial.config for trial in trials}
    opened = SqlStore(tmp_path / "other.db")
    [winner] = opened.winners(state=State.CANDIDATE)
    assert winner.config == Config(X=3, FAULT="none")
    assert winner.evidence.origin.startswith(f"tuner, {file}, sha256 ")
    [campaign_there] = opened.campaigns()
    assert (campaign_there.id, campaign_there.state) == (imported["campaign"], CampaignState.FINISHED)
    assert campaign_there.spec["origin"]["file"] == file
    [task] = opened.tasks(campaign_there.id)
    there = {trial.config: trial.measurement for trial in opened.trials(campaign_there.id, task)}
    assert set(there) == {trial.config for trial in trials}
    for trial in trials:
        assert there[trial.config].status is trial.measurement.status
        assert there[trial.config].samples["seconds"] == pytest.approx(trial.measurement.samples["seconds"])
    opened.close()
    # Neither what was imported nor what was measured here is kept twice.
    assert run("import", name, out, store=tmp_path / "other.db")["campaign"] == campaign_there.id
    assert run("import", name, out, store=store)["campaign"] == campaign
    assert len(run("campaign", "list", store=tmp_path / "other.db")["campaigns"]) == 1


def test_results_of_another_program_are_a_prior_on_other_devices_and_in_the_report(store: Path, tmp_path: Path) -> None:
    """The best becomes a candidate; of all the others, too, an agent learns where to begin."""
    configs = list(PARABOLA.search_space(Workload(N=300), detect("cpu")).iterate())
    names = list(configs[0])
    cache = {
        ",".join(map(str, config.values())): {**config, "time": 1.0 + abs(config.integer("X") - 11)}
        for config in configs
    }
    data = {
        "device_name": "another CPU",
        "kernel_name": "parabola",
        "problem_size": 300,
        "tune_params_keys": names,
        "tune_params": {name: sorted({config[name] for config in configs}) for name in names},
        "cache": cache,
    }
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps(data))
    imported = run("import", "kernel-tuner", file, "--kernel", TOY, "-w", "N=300", "--device", "cpu", store=store)
    assert len(imported["added"]) == 1
    opened = SqlStore(store)
    task = Task(TOY, PARABOLA.version, Workload(N=300), replace(detect("cpu"), name="this CPU"))
    space = PARABOLA.search_space(task.workload, task.device)
    [source] = related(opened, task, space)
    assert (len(source.trials), source.task.device.fingerprint == task.device.fingerprint) == (len(configs), False)
    assert prior_text(task, [source]) == f"prior from 1 device, {len(configs)} trials"
    informed = create_agent("auto", space, Objective(), seed=0, sources=[source]).ask(4)
    assert 11 in {config["X"] for config in informed}
    opened.close()
    shown = run("campaign", "show", imported["campaign"], store=store)
    assert shown["plan"]["origin"]["program"] == "Kernel Tuner"
    page = tmp_path / "report.html"
    run("report", imported["campaign"], "--out", page, store=store)
    assert "imported" in page.read_text()


def test_a_space_goes_out_and_is_shown(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "space.json"
    asked = ("--kernel", "softmax", "-w", "M=64", "-w", "N=512", "--target", "h200")
    exported = run("export", "t1", "--out", out, *asked, store=store)
    shown = run("import", "t1", out, store=store)
    assert shown["space_size"] == exported["configs"] > 1
    assert shown["added"] == []
    assert not store.exists()


def test_a_list_for_triton_and_one_config_for_helion(folder: Path, store: Path, tmp_path: Path) -> None:
    run("import", "vllm", folder, store=store)
    out = tmp_path / "configs.py"
    assert run("export", "triton-configs", "--out", out, "--state", "candidate", store=store)["configs"] == 2
    assert "triton.Config({'BLOCK_SIZE_M': 16" in out.read_text()
    assert run("import", "triton-configs", out, store=store)["space_size"] == 2
    asked = ("--kernel", "helion:matmul", "-w", "M=8", "--target", "h200")
    config = tmp_path / "config.json"
    config.write_text('{"block_sizes": [16, 16]}')
    assert run("import", "helion", config, *asked, store=store)["added"][0]["kernel"] == "helion:matmul"
    again = tmp_path / "again.json"
    run("export", "helion", "--out", again, "--kernel", "helion:matmul", "--state", "candidate", store=store)
    assert json.loads(again.read_text()) == {"block_sizes": [16, 16]}


def test_results_of_pytorch_go_in_and_out(store: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "results.csv", tmp_path / "out.csv"
    path.write_text("Validator,PT_VERSION,2.13.0\nGemmTunableOp_float_NT,nt_8_8_8,Gemm_Rocblas_1,0.5\n")
    run("import", "tunableop", path, "--target", "mi300x", store=store)
    run("export", "tunableop", "--out", out, "--state", "candidate", store=store)
    assert out.read_text() == path.read_text()


def test_winners_of_others_are_left_out(folder: Path, store: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "results.csv", tmp_path / "out.csv"
    path.write_text("Validator,PT_VERSION,2.13.0\nGemmTunableOp_float_NT,nt_8_8_8,Gemm_Rocblas_1,0.5\n")
    run("import", "vllm", folder, store=store)
    with pytest.raises(ExchangeError, match="no candidate winner for PyTorch TunableOp"):
        run("export", "tunableop", "--out", out, "--state", "candidate", store=store)
    run("import", "tunableop", path, "--target", "mi300x", store=store)
    assert run("export", "tunableop", "--out", out, "--state", "candidate", store=store)["configs"] == 1
    assert run("export", "vllm", "--out", tmp_path / "out", "--state", "candidate", store=store)["configs"] == 2
    of = ("--kernel", "tunableop:GemmTunableOp_float_NT", "--state", "candidate")
    with pytest.raises(ExchangeError, match="vLLM has no files for"):
        run("export", "vllm", "--out", tmp_path / "out", *of, store=store)


def test_formats_are_listed(store: Path) -> None:
    assert [one["name"] for one in run("formats", store=store)["formats"]] == list(FORMATS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["import", "cudnn", "x"], "no format is called 'cudnn'; there are: helion"),
        (["export", "cudnn", "--out", "x"], "no format is called 'cudnn'"),
        (["import", "vllm", "nowhere"], "cannot read nowhere: No such file"),
        (["import", "t4", "nowhere.json"], "cannot read nowhere.json: No such file"),
        (["import", "vllm", "x", "--device", "cpu", "--target", "h200"], "two ways to say one thing"),
        (["export", "t1", "--out", "x"], "say whose, with --kernel"),
        (["export", "t4", "--out", "x"], "the store has no campaign"),
    ],
)
def test_what_is_refused(store: Path, words: list[str], message: str) -> None:
    with pytest.raises(TunerError, match=message):
        run(*words, store=store)
