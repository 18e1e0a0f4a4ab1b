"""What a `triton.Config` says, as a config of ours, with nothing but the standard library.

A `triton.Config` keeps a kernel's own parameters apart from the compiler's options; a config of ours has them side by
side, as the search spaces of `tuner.kernels` do. Triton's one block in a cluster (`num_ctas=1`) is what all kernels
have, and is left out of ours, as are options that are None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.errors import TunerError
from tuner.types import Config

__all__ = ["OPTIONS", "config_from", "config_of"]

OPTIONS = ("num_warps", "num_stages", "num_ctas", "maxnreg", "ir_override")
"""What a `triton.Config` has beside a kernel's own parameters, but for its hook; of Triton 3.9."""

_ONE_BLOCK = ("num_ctas", 1)


def config_of(theirs: Any) -> Config:
    """Return the config of ours that a `triton.Config`, or anything with its attributes, is; its hook is left out.

    Raises:
        TunerError: it is something else, has a parameter twice, or a value that is no scalar.

    Example:
        >>> from types import SimpleNamespace
        >>> config_of(SimpleNamespace(kwargs={"BLOCK": 64}, num_warps=4, num_stages=3, num_ctas=1, maxnreg=None))
        Config(BLOCK=64, num_warps=4, num_stages=3)
    """
    kwargs = getattr(theirs, "kwargs", None)
    if kwargs is None or not hasattr(theirs, "num_warps"):
        raise TunerError(f"{theirs!r} is neither a mapping nor a triton.Config")
    return config_from(kwargs, {name: getattr(theirs, name, None) for name in OPTIONS})


def config_from(kwargs: Any, options: Mapping[str, Any]) -> Config:
    """Return the config of ours that a kernel's own parameters and the options beside them are.

    Raises:
        TunerError: the parameters are no mapping, one stands in both, or a value is no scalar.
    """
    if not isinstance(kwargs, Mapping):
        raise TunerError(f"its kwargs are {kwargs!r}, not a dict")
    told = {name: value for name, value in options.items() if value is not None}
    if both := sorted(set(kwargs) & set(told)):
        raise TunerError(f"it has {both[0]!r} twice: among its kwargs and beside them")
    return Config({**kwargs, **{name: value for name, value in told.items() if (name, value) != _ONE_BLOCK}})
