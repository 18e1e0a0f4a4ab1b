"""What enters a training beside its data: the versions of what trains."""

from __future__ import annotations

import platform
from importlib.metadata import version

__all__ = ["versions"]

_PACKAGES = ("numpy", "torch", "gymnasium", "stable-baselines3", "sb3-contrib", "rltuner")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that train."""
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}
