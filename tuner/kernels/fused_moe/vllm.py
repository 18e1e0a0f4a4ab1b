"""vLLM's files of tuned configs for its fused mixture of experts: read as ours, and written from ours.

A file is for a number of experts, an intermediate size, a device and a dtype, which its name tells; it maps numbers of
tokens to configs, as JSON. SGLang reads the same. The parameters mean the same to our kernel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from tuner.errors import TunerError
from tuner.types import Config, Device

__all__ = ["PARAMETERS", "file_name", "read", "written"]

PARAMETERS = ("BLOCK_SIZE_M", "BLOCK_SIZE_N", "BLOCK_SIZE_K", "GROUP_SIZE_M", "num_warps", "num_stages")
"""What a config has."""


def file_name(experts: int, intermediate: int, device: Device, dtype: str = "") -> str:
    """Return the name by which vLLM finds the file.

    Args:
        experts: How many there are.
        intermediate: Columns of the down projection's weights: half of what gate and up projections have together.
        device: The GPU.
        dtype: Of quantised weights, as vLLM calls it (`fp8_w8a8`); empty for weights of 16 bits.

    Example:
        >>> from tuner.gpus import target_device
        >>> file_name(8, 14336, target_device("h100"))
        'E=8,N=14336,device_name=NVIDIA_H100_80GB_HBM3.json'
    """
    quantised = f",dtype={dtype}" if dtype else ""
    return f"E={experts},N={intermediate},device_name={device.name.replace(' ', '_')}{quantised}.json"


def written(configs: Mapping[int, Config]) -> str:
    """Return the text of a file.

    Args:
        configs: By the number of tokens.

    Raises:
        TunerError: a config lacks a parameter.

    Example:
        >>> config = Config({name: 16 for name in PARAMETERS})
        >>> read(written({64: config})) == {64: config}
        True
    """
    data = {str(tokens): dict(_checked(tokens, config)) for tokens, config in sorted(configs.items())}
    return json.dumps(data, indent=4) + "\n"


def read(text: str) -> dict[int, Config]:
    """Return the configs of a file by their number of tokens; what else it says, such as versions, is left out.

    Raises:
        TunerError: it is no such file, or a config lacks a parameter.
    """
    try:
        data = json.loads(text)
        found = {int(tokens): values for tokens, values in data.items() if tokens.isdigit()}
    except (ValueError, AttributeError) as error:
        raise TunerError(f"no file of vLLM's tuned configs: {error}") from error
    if not found:
        raise TunerError("no file of vLLM's tuned configs: it has none for any number of tokens")
    return {tokens: _checked(tokens, values) for tokens, values in found.items()}


def _checked(tokens: int, values: Mapping[str, object]) -> Config:
    config = {}
    for name in PARAMETERS:
        value = values.get(name) if isinstance(values, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, int):
            raise TunerError(f"the config for {tokens} tokens has {name}={value!r}, and needs a whole number")
        config[name] = value
    return Config(config)
