"""The formats that commands know by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tuner.db.exchange.cache_file import KernelTunerFiles
from tuner.db.exchange.finding import Format
from tuner.db.exchange.helion_config import HelionConfigFiles
from tuner.db.exchange.t1 import T1Files
from tuner.db.exchange.t4 import T4Files
from tuner.db.exchange.triton_cache import TritonCacheFiles
from tuner.db.exchange.triton_config import TritonConfigFiles
from tuner.db.exchange.tunableop import TunableOpFiles
from tuner.db.exchange.vllm import VllmFiles
from tuner.errors import ExchangeError

__all__ = ["FORMATS", "format_named"]

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "helion": HelionConfigFiles(),
        "kernel-tuner": KernelTunerFiles(),
        "t1": T1Files(),
        "t4": T4Files(),
        "triton-cache": TritonCacheFiles(),
        "triton-configs": TritonConfigFiles(),
        "tunableop": TunableOpFiles(),
        "vllm": VllmFiles(),
    }
)
"""The formats, by the name that commands take. Helion's cache on a store is not one of them: Helion opens it itself."""


def format_named(name: str) -> Format:
    """Return the format of this name.

    Raises:
        ExchangeError: there is none; the message lists those there are.

    Example:
        >>> format_named("vllm").program
        'vLLM'
    """
    if name not in FORMATS:
        raise ExchangeError(f"no format is called {name!r}; there are: {', '.join(FORMATS)}")
    return FORMATS[name]
