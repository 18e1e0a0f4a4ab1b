"""What an agent is told of related tasks before it begins: records of other files, as sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from tuner.agents import Source
from tuner.db.kernel_tuner import RecordedSpace
from tuner.errors import TunerError
from tuner.types import Trial

__all__ = ["LeaveOut", "Prior", "priors_of", "require_priors", "source_of"]


class LeaveOut(StrEnum):
    """What of the given files an agent's prior leaves out, and so what it holds.

    Attributes:
        SPACE: Only the target itself: its kernel on whichever device, for other workloads too.
        DEVICE: The target's device: its kernel on other devices.
        KERNEL: The target's kernel: other kernels, on whichever device.
    """

    SPACE = "space"
    DEVICE = "device"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Prior:
    """Where an agent's sources come from.

    Attributes:
        paths: Cache files, one source each.
        records: How many random records of each file a run is told; None for all.
    """

    paths: tuple[Path, ...] = ()
    records: int | None = None

    def __post_init__(self) -> None:
        if self.records is not None and self.records < 1:
            raise TunerError(f"a prior of {self.records} records tells nothing; give 1 or more, or no number for all")


def priors_of(
    paths: Sequence[Path], spaces: Sequence[RecordedSpace], leave_out: LeaveOut, records: int | None = None
) -> list[Prior]:
    """Return the prior of each given space, made of the other given ones; an empty one where none is left.

    Args:
        paths: Cache files.
        spaces: What they hold, in the same order.
        leave_out: What the priors may not know.
        records: See `Prior`.
    """
    priors = []
    for target in spaces:
        chosen = tuple(path for path, other in zip(paths, spaces, strict=True) if _allowed(other, target, leave_out))
        priors.append(Prior(chosen, records))
    return priors


def require_priors(spaces: Sequence[RecordedSpace], priors: Sequence[Prior], leave_out: LeaveOut) -> None:
    """Do nothing where every space has a prior.

    Raises:
        TunerError: one has none.
    """
    for target, prior in zip(spaces, priors, strict=True):
        if not prior.paths:
            wanted = {
                LeaveOut.SPACE: f"{target.kernel!r} elsewhere",
                LeaveOut.DEVICE: f"{target.kernel!r} on another device than {target.device!r}",
                LeaveOut.KERNEL: f"another kernel than {target.kernel!r}",
            }[leave_out]
            raise TunerError(f"{target.name} has no prior: none of the files records {wanted}; give one more file")


def _allowed(other: RecordedSpace, target: RecordedSpace, leave_out: LeaveOut) -> bool:
    match leave_out:
        case LeaveOut.SPACE:
            return other.kernel == target.kernel and other is not target
        case LeaveOut.DEVICE:
            return other.kernel == target.kernel and other.device != target.device
        case LeaveOut.KERNEL:
            return other.kernel != target.kernel


def source_of(recorded: RecordedSpace, records: int | None, rng: np.random.Generator) -> Source:
    """Return so many random records as a source, failures included; all, in their order, where `records` is None.

    Example:
        >>> import json, tempfile
        >>> from tuner.db.kernel_tuner import read_cache_file
        >>> data = {"tune_params_keys": ["A"], "tune_params": {"A": [1, 2]}, "device_name": "GPU", "kernel_name": "toy"}
        >>> data["cache"] = {"1": {"A": 1, "time": 2.0}, "2": {"A": 2, "time": 1.0}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "toy_gpu.json"
        ...     _ = path.write_text(json.dumps(data))
        ...     source = source_of(read_cache_file(path), 1, np.random.default_rng(0))
        >>> source.task.tunable, source.task.device.name, len(source.trials)
        ('toy', 'GPU', 1)
    """
    configs = list(recorded.measurements)
    if records is not None:
        # A shuffle of places: `choice` would turn configs into arrays.
        configs = [configs[i] for i in rng.permutation(len(configs))[:records]]
    trials = tuple(Trial(config, recorded.measurements[config], number=i) for i, config in enumerate(configs))
    return Source(recorded.task, trials)
