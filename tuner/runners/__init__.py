"""How a config becomes a measurement: locally, on Ray, or from a record.

Runners load tunables by reference and know no kernel, agent or store. Each worker is a process that can be killed.
"""

from tuner.runners.base import Activity, BuildRunner, Runner, create_runner
from tuner.runners.local import LocalRunner
from tuner.runners.recorded import Recorder
from tuner.runners.replay import ReplayRunner
from tuner.runners.station import Built

__all__ = [
    "Activity",
    "BuildRunner",
    "Built",
    "LocalRunner",
    "Recorder",
    "ReplayRunner",
    "Runner",
    "create_runner",
]
