"""What an agent is told of related tasks before it begins: records of other files, as sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
        spaces: How many of the files a run is told of, drawn by its seed; None for all.
        shuffled: Whether what was measured is dealt to other configs, so that the prior misleads.
    """

    paths: tuple[Path, ...] = ()
    records: int | None = None
    spaces: int | None = None
    shuffled: bool = False

    def __post_init__(self) -> None:
        for name in ("records", "spaces"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise TunerError(f"a prior of {value} {name} tells nothing; give 1 or more, or no number for all")

    def drawn(self, seed: int) -> tuple[Path, ...]:
        """Return the files that the run of this seed is told of, in their order.

        Example:
            >>> prior = Prior((Path("a.json"), Path("b.json")), spaces=1)
            >>> sorted({path.name for seed in range(20) for path in prior.drawn(seed)})
            ['a.json', 'b.json']
        """
        if self.spaces is None or self.spaces >= len(self.paths):
            return self.paths
        places = np.random.default_rng([seed, 0]).permutation(len(self.paths))[: self.spaces]
        return tuple(self.paths[place] for place in sorted(places.tolist()))


def priors_of(
    paths: Sequence[Path],
    spaces: Sequence[RecordedSpace],
    leave_out: LeaveOut,
    like: Prior = Prior(),
) -> list[Prior]:
    """Return the prior of each given space, made of the other given ones; an empty one where none is left.

    Args:
        paths: Cache files.
        spaces: What they hold, in the same order.
        leave_out: What the priors may not know.
        like: How much of these files the priors tell, and how; its own files do not matter.
    """
    priors = []
    for target in spaces:
        chosen = tuple(path for path, other in zip(paths, spaces, strict=True) if _allowed(other, target, leave_out))
        priors.append(replace(like, paths=chosen))
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


def source_of(
    recorded: RecordedSpace, records: int | None, rng: np.random.Generator, *, shuffled: bool = False
) -> Source:
    """Return so many random records as a source, failures included; all, in their order, where `records` is None.

    Where they are shuffled, each config has what was measured of a random one of them.

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
    measured = [recorded.measurements[config] for config in configs]
    if shuffled:
        measured = [measured[i] for i in rng.permutation(len(measured))]
    trials = tuple(Trial(config, one, number=i) for i, (config, one) in enumerate(zip(configs, measured, strict=True)))
    return Source(recorded.task, trials)
