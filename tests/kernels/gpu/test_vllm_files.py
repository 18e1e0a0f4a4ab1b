from __future__ import annotations

import json

import pytest

from tuner.errors import TunerError
from tuner.gpus import target_device
from tuner.kernels.fused_moe.triton import KERNEL
from tuner.kernels.fused_moe.vllm import PARAMETERS, file_name, read, written
from tuner.types import Config

FILE = {
    "triton_version": "3.4.0",
    "1": {"BLOCK_SIZE_M": 16, "BLOCK_SIZE_N": 64, "BLOCK_SIZE_K": 128, "GROUP_SIZE_M": 1, "num_warps": 4}
    | {"num_stages": 4, "SPLIT_K": 1},
    "4096": {"BLOCK_SIZE_M": 128, "BLOCK_SIZE_N": 256, "BLOCK_SIZE_K": 64, "GROUP_SIZE_M": 16, "num_warps": 8}
    | {"num_stages": 4},
}


def test_their_configs_are_configs_of_our_space() -> None:
    configs = read(json.dumps(FILE))
    assert list(configs) == [1, 4096]
    device = target_device("h100")
    for tokens, config in configs.items():
        workload = KERNEL.workload({"T": tokens, "N": 28672, "K": 4096, "E": 8, "TOPK": 2})
        assert KERNEL.search_space(workload, device).violated(config) is None


def test_our_configs_are_theirs() -> None:
    device = target_device("h200")
    configs = {tokens: KERNEL.default(KERNEL.workload({**W, "T": tokens}), device) for tokens in (512, 8)}
    data = json.loads(written(configs))
    assert list(data) == ["8", "512"]
    assert all(set(config) == set(PARAMETERS) for config in data.values())
    assert read(written(configs)) == configs
    assert file_name(128, 768, device, "fp8_w8a8") == "E=128,N=768,device_name=NVIDIA_H200,dtype=fp8_w8a8.json"


W = {"N": 1536, "K": 2048, "E": 128, "TOPK": 8}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no file of vLLM's"),
        ("no json", "no file of vLLM's"),
        ('{"triton_version": "3.4.0"}', "none for any number of tokens"),
        ('{"8": {"BLOCK_SIZE_M": 16}}', "BLOCK_SIZE_N=None"),
        ('{"8": 7}', "BLOCK_SIZE_M=None"),
    ],
)
def test_what_is_no_such_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        read(text)


def test_a_config_without_a_parameter_is_not_written() -> None:
    with pytest.raises(TunerError, match="the config for 4 tokens has BLOCK_SIZE_M=None"):
        written({4: Config(num_warps=4)})
