from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.db.exchange.sample import again, told, winner, winners_of
from tuner.db.exchange import Request, Selection
from tuner.db.exchange.vllm import FUSED_MOE, OURS, SCALED_MM, VllmFiles, nearest
from tuner.errors import ExchangeError
from tuner.gpus import target_device
from tuner.types import Config, Scalar, Workload

ROOT = Path(__file__).parents[3]
VLLM = ROOT / ".venv-engines/bin/python"
FORMAT = VllmFiles()
CONFIG = {"BLOCK_SIZE_M": 16, "BLOCK_SIZE_N": 64, "BLOCK_SIZE_K": 128, "GROUP_SIZE_M": 1, "num_warps": 4}
CONFIG |= {"num_stages": 4}
LARGE = CONFIG | {"BLOCK_SIZE_M": 128, "num_warps": 8}
MOE_NAME = "E=8,N=14336,device_name=NVIDIA_H100_80GB_HBM3.json"
MM_NAME = "N=1536,K=7168,device_name=NVIDIA_H200,dtype=fp8_w8a8,block_shape=[128,128].json"


def put(folder: Path, name: str, data: Any) -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_a_name_tells_the_workload_and_the_device(tmp_path: Path) -> None:
    put(tmp_path, MOE_NAME, {"triton_version": "3.5.0", "64": LARGE, "1": CONFIG})
    put(tmp_path, MM_NAME, {"8": CONFIG})
    put(tmp_path, "E=256,N=256,device_name=AMD_Instinct_MI300X,dtype=fp8_w8a8,block_shape=[64,32].json", {"2": CONFIG})
    put(tmp_path, "model.json", {})
    reading = FORMAT.read(tmp_path, Request())
    assert told(reading.findings) == [
        (
            FUSED_MOE,
            Workload(E=256, N=256, dtype="fp8_w8a8", block_n=64, block_k=32, M=2),
            "AMD Instinct MI300X",
            Config(CONFIG),
        ),
        (FUSED_MOE, Workload(E=8, N=14336, M=64), "NVIDIA H100 80GB HBM3", Config(LARGE)),
        (FUSED_MOE, Workload(E=8, N=14336, M=1), "NVIDIA H100 80GB HBM3", Config(CONFIG)),
        (
            SCALED_MM,
            Workload(N=1536, K=7168, dtype="fp8_w8a8", block_n=128, block_k=128, M=8),
            "NVIDIA H200",
            Config(CONFIG),
        ),
    ]
    assert reading.notes == ("1 .json files with other names left out, model.json first",)
    origin = reading.findings[1].origin
    assert (origin.program, origin.file, origin.versions) == ("vLLM", MOE_NAME, {"triton": "3.5.0"})
    assert reading.findings[1].device == target_device("h100")
    assert reading.findings[1].seconds is None


def test_findings_become_those_of_our_kernel(tmp_path: Path) -> None:
    odd = CONFIG | {"matrix_instr_nonkdim": 16}
    put(tmp_path, MOE_NAME, {"1": CONFIG | {"SPLIT_K": 1}, "4096": LARGE, "8": odd, "2": CONFIG | {"BLOCK_SIZE_K": 8}})
    reading = FORMAT.read(tmp_path, Request(OURS, {"K": 4096, "TOPK": 2}))
    assert told(reading.findings) == [
        (
            OURS,
            Workload(T=tokens, N=28672, K=4096, E=8, TOPK=2, dtype="bf16"),
            "NVIDIA H100 80GB HBM3",
            Config(config),
        )
        for tokens, config in ((1, CONFIG), (4096, LARGE))
    ]
    assert all(finding.version for finding in reading.findings)
    assert len(reading.notes) == 2
    assert "no parameter matrix_instr_nonkdim" in reading.notes[0]
    assert "BLOCK_SIZE_K=8" in reading.notes[1]
    with pytest.raises(ExchangeError, match="field TOPK"):
        FORMAT.read(tmp_path, Request(OURS, {"K": 4096}))
    with pytest.raises(ExchangeError, match="tell nothing of cpp:softmax"):
        FORMAT.read(tmp_path, Request("cpp:softmax"))


def test_winners_of_ours_are_written_for_vllm(tmp_path: Path) -> None:
    fields: dict[str, Scalar] = {"N": 3584, "K": 4096, "E": 8, "TOPK": 2, "dtype": "bf16"}
    device = target_device("h200")
    found = [
        winner(OURS, Workload(T=tokens, **fields), Config(config), device=device, environment={"triton": "3.9.0"})
        for tokens, config in ((64, LARGE), (1, CONFIG))
    ]
    writing = FORMAT.write(tmp_path / "tuned", Selection(winners=found))
    [path] = writing.files
    assert path.name == "E=8,N=1792,device_name=NVIDIA_H200.json"
    assert list(json.loads(path.read_text()).items()) == [("triton_version", "3.9.0"), ("64", LARGE), ("1", CONFIG)]
    assert writing.configs == 2


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (winner("cpp:softmax", Workload(M=1), Config(CONFIG)), "vLLM has no files for"),
        (winner(OURS, Workload(T=1, N=7, K=16, E=2, TOPK=1), Config(CONFIG)), "N=7 is odd"),
        (winner(FUSED_MOE, Workload(E=8, M=1), Config(CONFIG)), "cannot be vLLM's"),
    ],
)
def test_what_vllm_cannot_have_is_not_written(tmp_path: Path, found: Any, message: str) -> None:
    good = winner(FUSED_MOE, Workload(E=8, N=64, M=1), Config(CONFIG))
    with pytest.raises(ExchangeError, match=message):
        FORMAT.write(tmp_path, Selection(winners=[good, found]))
    assert not list(tmp_path.iterdir())


def test_two_winners_for_one_entry_are_refused(tmp_path: Path) -> None:
    fields = {"T": 4, "N": 64, "E": 8, "TOPK": 2}
    found = [
        winner(OURS, Workload(K=k, **fields), Config(config), number=number)
        for number, (k, config) in enumerate(((16, CONFIG), (32, LARGE)), start=1)
    ]
    with pytest.raises(ExchangeError, match="winners 1 and 2 are both for 4 tokens"):
        FORMAT.write(tmp_path, Selection(winners=found))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("tuned.json", {"1": CONFIG}, "is not named like vLLM's"),
        ("E=x,N=1,device_name=A.json", {"1": CONFIG}, "is not named like vLLM's"),
        (MOE_NAME, "{", "is not JSON"),
        (MOE_NAME, [1], "holds a JSON list"),
        (MOE_NAME, {}, "no number of tokens"),
        (MOE_NAME, {"triton_version": 3, "1": CONFIG}, "field 'triton_version' is 3"),
        (MM_NAME, {"triton_version": "3.5.0", "1": CONFIG}, "field 'triton_version' is no number of tokens"),
        (MOE_NAME, {"-1": CONFIG}, "field '-1' is no number of tokens"),
        (MOE_NAME, {"01": CONFIG}, "field '01' is no number of tokens"),
        (MOE_NAME, {"1": 7}, "field '1' is 7, not a config"),
        (MOE_NAME, {"1": CONFIG | {"BLOCK_SIZE_M": "16"}}, "field '1' has BLOCK_SIZE_M='16'"),
        (MOE_NAME, {"1": CONFIG, "2": {"BLOCK_SIZE_M": 16}}, "field '2' has BLOCK_SIZE_N=None"),
        (MOE_NAME, {"1": CONFIG | {"kpack": [1]}}, r"field '1' has kpack=\[1\]"),
        (MOE_NAME, '{"1": {}, "1": {}}', "has '1' twice"),
    ],
)
def test_a_bad_file_is_one_error_that_names_it(tmp_path: Path, name: str, data: Any, message: str) -> None:
    path = put(tmp_path, name, data)
    with pytest.raises(ExchangeError, match=message) as raised:
        FORMAT.read(path, Request())
    assert str(path) in str(raised.value)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="has no file that is named like"):
        FORMAT.read(tmp_path, Request())
    with pytest.raises(ExchangeError, match="cannot read"):
        FORMAT.read(tmp_path / MOE_NAME, Request())


sizes = st.integers(1, 2**20)
configs = st.fixed_dictionaries(
    {name: st.sampled_from([1, 2, 4, 8, 16, 64]) for name in CONFIG if name != "num_stages"},
    optional={"num_stages": st.integers(1, 5), "waves_per_eu": st.integers(0, 4), "grf_mode": st.just("256")},
)
tables = st.dictionaries(sizes, configs, min_size=1, max_size=6)
devices = st.sampled_from(["NVIDIA_H200", "NVIDIA_A100-SXM4-80GB", "AMD_Instinct_MI300X", "Some_new_GPU"])
dtypes = st.sampled_from(["", ",dtype=fp8_w8a8", ",dtype=int8_w8a16"])
blocks = st.sampled_from(["", ",block_shape=[128,128]", ",block_shape=[0,32]"])
moe_names = st.builds("E={},N={},device_name={}{}{}.json".format, sizes, sizes, devices, dtypes, blocks)
mm_names = st.builds(
    "N={},K={},device_name={},dtype=fp8_w8a8,block_shape=[{},128].json".format, sizes, sizes, devices, sizes
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(files=st.dictionaries(moe_names | mm_names, tables, min_size=1, max_size=3))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]) -> None:
    before, after = tmp_path_factory.mktemp("before"), tmp_path_factory.mktemp("after")
    for name, table in files.items():
        put(before, name, {str(tokens): config for tokens, config in table.items()})
    findings = FORMAT.read(before, Request()).findings
    assert told(again(FORMAT, findings, after)) == told(findings)
    for name, table in files.items():
        written = json.loads((after / name).read_text())
        assert list(written.items()) == [(str(tokens), config) for tokens, config in table.items()]


def asked(folder: Path, questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what vLLM's own code says of `folder`."""
    reader = Path(__file__).with_name("vllm_reader.py")
    done = subprocess.run(
        [VLLM, reader],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "VLLM_TUNED_CONFIG_FOLDER": str(folder), "VLLM_LOGGING_LEVEL": "ERROR"},
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.slow
@pytest.mark.skipif(not VLLM.exists(), reason="vLLM for CPUs is not installed: make engines-venv")
def test_vllm_itself_answers_the_same_for_every_number_of_tokens(tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    # Two numbers of tokens are equally near to 12: the order of the file decides.
    table = {"16": LARGE, "8": CONFIG, "1": CONFIG | {"num_warps": 2}, "512": LARGE | {"num_stages": 2}}
    names = {
        MOE_NAME: ("NVIDIA_H100_80GB_HBM3", 8, 14336, None, None),
        "E=64,N=256,device_name=NVIDIA_H200,dtype=fp8_w8a8,block_shape=[128,128].json": (
            # All models of the family share one file.
            "NVIDIA_H200_NVL",
            64,
            256,
            "fp8_w8a8",
            [128, 128],
        ),
    }
    for name in (*names, MM_NAME):
        put(before, name, table)
    findings = FORMAT.read(before, Request()).findings
    folder = tmp_path / "after"
    FORMAT.write(folder, Selection(winners=winners_of(findings)))
    own = tmp_path / "own"
    FORMAT.write(own / "configs", Selection(winners=winners_of(findings)))

    tokens = [*range(1, 700), 4096, 65536]
    questions = [
        {"kind": "moe", "device": device, "E": e, "N": n, "dtype": dtype, "blocks": shape, "tokens": tokens}
        for device, e, n, dtype, shape in names.values()
    ]
    questions.append(
        {"kind": "mm", "device": "NVIDIA_H200", "N": 1536, "K": 7168, "blocks": [128, 128], "folder": str(own)}
    )
    answers = asked(folder, questions)
    expected = {int(key): config for key, config in table.items()}
    ours = {key: Config(config) for key, config in expected.items()}
    for answer in answers:
        assert [(int(key), config) for key, config in answer["configs"]] == list(expected.items())
    for name, answer in zip(names, answers, strict=False):
        assert answer["name"] == name
        assert [Config(config) for config in answer["chosen"]] == [nearest(ours, count) for count in tokens]
