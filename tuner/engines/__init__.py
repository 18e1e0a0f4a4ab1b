"""Inference engines as tunables: the processes they are, the traffic they serve, and what is measured of them.

Nothing here knows campaigns, agents or stores; kernels and runners do not know engines.
"""

from __future__ import annotations

from tuner.engines.base import (
    Applied,
    Engine,
    EngineError,
    EngineLateError,
    EngineParameter,
    EngineTunable,
    QualityError,
    Route,
    Window,
)
from tuner.engines.live import LiveEngine

__all__ = [
    "Applied",
    "Engine",
    "EngineError",
    "EngineLateError",
    "EngineParameter",
    "EngineTunable",
    "LiveEngine",
    "QualityError",
    "Route",
    "Window",
]
