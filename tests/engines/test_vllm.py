from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tuner.devices import detect
from tuner.engines import vllm
from tuner.engines.installed import InstalledVllm, known_options
from tuner.engines.vllm import Vllm
from tuner.errors import WorkloadError
from tuner.types import Config, Device, Workload

GPU = Device("cuda", "NVIDIA H100", "sm_90", 4, 80 << 30)

FLAGS = (
    "block-size data-parallel-size enable-chunked-prefill enable-prefix-caching enforce-eager gpu-memory-utilization "
    "kv-cache-memory-bytes max-cudagraph-capture-size max-num-batched-tokens max-num-seqs pipeline-parallel-size "
    "quantization speculative-config tensor-parallel-size async-scheduling enable-expert-parallel"
)
OPTIONS = {
    **{f"--{name}": None for name in FLAGS.split()},
    "--dtype": ["auto", "bfloat16", "float16", "float32"],
    "--kv-cache-dtype": ["auto", "fp8"],
    "--scheduling-policy": ["fcfs", "priority"],
}
VARIABLES = frozenset({"VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_NUM_OF_RESERVED_CPU"})
INSTALLED = InstalledVllm(Path("/no/bin/python"), {"vllm": "0.32.0", "torch": "2.13.0"}, OPTIONS, VARIABLES)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> InstalledVllm:
    """Have a vLLM without having one."""
    monkeypatch.setattr(vllm, "find_interpreter", lambda: INSTALLED.python)
    monkeypatch.setattr(vllm, "installed_vllm", lambda _: INSTALLED)
    return INSTALLED


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"vocab_size": 1000, "max_position_embeddings": 2048, "dtype": "bfloat16"})
    )
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


@pytest.fixture
def workload(model: Path) -> Workload:
    return Vllm().workload({"model": str(model), "concurrency": 4, "context_tokens": 512})


def config(workload: Workload, device: Device | None = None, **values: bool | int | float | str) -> Config:
    default = Vllm().default(workload, device or detect("cpu"))
    return Config({**default, **values})


def test_the_default_says_nothing_but_the_cache(workload: Workload) -> None:
    """So that what a winner has to beat is vLLM as it comes."""
    command = Vllm().launch(config(workload), workload).command
    said = command.words[command.words.index("--served-model-name") + 2 :]
    assert said == ("--max-model-len", "512", "--kv-cache-memory-bytes", str(1 << 30))
    assert not [name for name in command.environment if name.startswith("VLLM_CPU")]


def test_values_become_words_and_variables(workload: Workload) -> None:
    one = config(
        workload,
        max_num_seqs=16,
        enable_prefix_caching="off",
        enforce_eager=True,
        speculation="ngram:2",
        thread_binding="nobind",
    )
    launch = Vllm().launch(one, workload)
    text = " ".join(launch.command.words)
    for said in ("--max-num-seqs 16", "--no-enable-prefix-caching", "--enforce-eager"):
        assert said in text
    speculation = json.loads(launch.command.words[launch.command.words.index("--speculative-config") + 1])
    assert speculation == {"num_speculative_tokens": 2, "method": "ngram", "prompt_lookup_max": 2}
    assert launch.command.environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert launch.command.environment["HF_HUB_OFFLINE"] == "1"
    assert launch.extra == {"ignore_eos": True}


def test_the_command_and_the_file_say_the_same(workload: Workload) -> None:
    one = config(workload, max_num_seqs=16, enable_prefix_caching="off", thread_binding="nobind")
    command, text = Vllm().serve_command(one, workload), Vllm().serve_yaml(one, workload)
    assert command.startswith("VLLM_CPU_OMP_THREADS_BIND=nobind vllm serve ")
    assert "--max-num-seqs 16 --no-enable-prefix-caching" in command
    assert text.startswith("# VLLM_CPU_OMP_THREADS_BIND=nobind\n")
    assert yaml.safe_load(text) == {
        "model": workload["model"],
        "max-model-len": 512,
        "max-num-seqs": 16,
        "enable-prefix-caching": False,
        "kv-cache-memory-bytes": 1 << 30,
    }


def test_what_the_installed_version_does_not_take_is_dropped_with_a_word(workload: Workload) -> None:
    wanted = Vllm().options(workload, detect("cpu")).kept
    flags = {name: choices for name, choices in OPTIONS.items() if name != "--block-size"}
    flags |= {"--dtype": ["auto", "bfloat16", "float32"], "--scheduling-policy": ["fifo"]}
    older = replace(INSTALLED, options=flags, variables=frozenset({"VLLM_CPU_OMP_THREADS_BIND"}))
    options = known_options(wanted, older)
    names = {one.name: one.parameter.values for one in options.kept}
    assert "block_size" not in names
    assert "reserved_cores" not in names
    assert names["dtype"] == ("auto", "float32")
    assert options.dropped == (
        "dtype=float16: vLLM 0.32.0 does not take it",
        "block_size: vLLM 0.32.0 has no option --block-size",
        "scheduling_policy: vLLM 0.32.0 does not take --scheduling-policy priority",
        "reserved_cores: vLLM 0.32.0 does not read VLLM_CPU_NUM_OF_RESERVED_CPU",
    )


def test_a_cpu_and_a_gpu_have_profiles_of_their_own(workload: Workload) -> None:
    on_cpu = set(Vllm().search_space(workload, detect("cpu")).names)
    on_gpu = set(Vllm().search_space(workload, GPU).names)
    assert on_cpu - on_gpu == {"kv_cache_gib", "reserved_cores", "thread_binding"}
    assert on_gpu - on_cpu == {
        "async_scheduling",
        "data_parallel_size",
        "gpu_memory_utilization",
        "kv_cache_dtype",
        "max_cudagraph_capture_size",
        "pipeline_parallel_size",
        "quantization",
        "tensor_parallel_size",
    }


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tensor_parallel_size": 4, "data_parallel_size": 2}, "more than 4 GPUs"),
        ({"max_num_seqs": 128, "max_num_batched_tokens": 128, "block_size": 32}, ""),
        ({"enable_chunked_prefill": "off", "max_num_batched_tokens": 256}, "the longest prompt, 512 tokens"),
        ({"enable_chunked_prefill": "off", "max_num_batched_tokens": 512}, ""),
        ({"enforce_eager": True, "max_cudagraph_capture_size": 8}, "no CUDA graphs"),
        ({"speculation": "ngram:2", "pipeline_parallel_size": 2}, "does not speculate"),
    ],
)
def test_what_vllm_would_refuse_is_not_in_the_space(workload: Workload, values: dict[str, int], reason: str) -> None:
    space = Vllm().search_space(workload, GPU)
    violated = space.violated(config(workload, GPU, **values))
    assert (violated is None) == (not reason)
    assert reason in (violated or "")


def test_experts_are_for_models_that_have_some(model: Path) -> None:
    described = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**described, "num_local_experts": 8}))
    mixture = Vllm().workload({"model": str(model)})
    space = Vllm().search_space(mixture, GPU)
    assert "enable_expert_parallel" in space.names
    assert space.violated(config(mixture, GPU, enable_expert_parallel=True)) is not None


def test_some_parameters_may_be_chosen(model: Path) -> None:
    some = Vllm().workload({"model": str(model), "parameters": "max_num_seqs, enforce_eager", "kv_cache_gib": 2})
    space = Vllm().search_space(some, detect("cpu"))
    assert set(space.names) == {"max_num_seqs", "enforce_eager", "kv_cache_gib"}
    assert space.default["kv_cache_gib"] == 2
    other = Vllm().workload({"model": str(model), "parameters": "max_num_sqs"})
    with pytest.raises(WorkloadError, match="no parameter 'max_num_sqs' here; it has: block_size"):
        Vllm().search_space(other, detect("cpu"))


def test_memory_covers_weights_cache_and_replicas(workload: Workload) -> None:
    one = Vllm().launch(config(workload), workload).memory_bytes
    assert one > (1 << 30)
    more = Vllm().launch(config(workload, kv_cache_gib=2), workload).memory_bytes
    assert more == one + (1 << 30)
    assert Vllm().launch(config(workload, dtype="float32"), workload).memory_bytes == one + 1000


def test_a_model_in_a_folder_is_known_by_its_description(model: Path, workload: Workload) -> None:
    (model / "config.json").write_text(json.dumps({"vocab_size": 2000}))
    assert Vllm().workload({"model": str(model), "concurrency": 4, "context_tokens": 512}) != workload


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "needs a model"),
        ({"model": "a/b", "context_tokens": -1}, "context_tokens=-1 is not"),
        ({"model": "a/b", "nosuch": 1}, "no field 'nosuch'; it has: model"),
        ({"model": "a/b", "traffic": "nowhere.yaml"}, "cannot read the traffic"),
        ({"model": "a/b", "draft_model": 3}, "draft_model=3 of engine:vllm is not a str"),
    ],
)
def test_mistakes_in_a_workload_are_named(fields: dict[str, str | int], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        Vllm().workload(fields)
