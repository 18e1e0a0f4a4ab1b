"""The errors a user of tuner can meet. Each message says what was wrong, with which value, and what to do."""

from __future__ import annotations

__all__ = [
    "BuildError",
    "ExchangeError",
    "MissingDependencyError",
    "PoisonedDeviceError",
    "RunnerClosedError",
    "SnapshotError",
    "SpaceError",
    "SpecError",
    "StoppedError",
    "StoreError",
    "TunableError",
    "TunerError",
    "WorkloadError",
]


class TunerError(Exception):
    """Base of every error that tuner raises on purpose."""


class SpaceError(TunerError):
    """A search space, a parameter or a constraint is not well formed, or a config is not in its space."""


class WorkloadError(TunerError):
    """A workload lacks a field, has one too many, or holds a value that its operator does not take."""


class TunableError(TunerError):
    """A tunable is unknown, cannot be loaded, or its default config does not work."""


class BuildError(TunerError):
    """One config could not be compiled. A runner turns it into a trial with `Status.COMPILE`."""


class PoisonedDeviceError(TunerError):
    """A program broke the device's context, as an access to memory that is not there does; its process is of no use."""


class StoreError(TunerError):
    """The store cannot be opened, read or written, or has a schema of another version."""


class ExchangeError(TunerError):
    """A file of another program cannot be read or written; the message names the file and the field."""


class SnapshotError(TunerError):
    """A file of winners, or a lock on them, is not whole, not ours, or not the one that was asked for."""


class SpecError(TunerError):
    """A campaign's specification has mistakes; the message lists each with its line."""


class MissingDependencyError(TunerError):
    """A compiler or an optional package that the request needs is not installed."""


class RunnerClosedError(TunerError):
    """The runner was closed while a config was being evaluated; nothing is known of the config."""


class StoppedError(TunerError):
    """A second Ctrl-C ended a campaign at once; every trial that was finished is kept."""
