"""What files of other programs tell: findings, with their origin, and what is asked of a format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from tuner.db.exchange.document import Document
from tuner.errors import ExchangeError
from tuner.gpus import GPUS, target_device
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Device, Scalar, Task, Trial, Winner, Workload

__all__ = [
    "Content",
    "Finding",
    "Format",
    "Origin",
    "Reading",
    "Request",
    "Search",
    "Selection",
    "Writing",
    "named_device",
]


class Content(StrEnum):
    """What a format's files are written from."""

    WINNERS = "winners"
    TRIALS = "trials"
    SPACE = "space"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a finding comes from.

    Attributes:
        program: Who found it.
        file: The file's name, without its folder.
        digest: SHA-256 of the file, in hexadecimal digits.
        versions: Versions under which it was found, as far as the file tells.
    """

    program: str
    file: str
    digest: str
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, program: str, document: Document, versions: Mapping[str, str] | None = None) -> Origin:
        """Return the origin of what stands in `document`."""
        return cls(program, document.path.name, document.digest, versions or {})

    @property
    def text(self) -> str:
        """The origin in words, short enough for a table."""
        return f"{self.program}, {self.file}, sha256 {self.digest[:16]}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A config that another program found best for a workload on a device.

    Attributes:
        tunable: What was tuned: a kernel of ours, or `program:name` for what only the other program has.
        workload: What it was tuned for.
        device: What it was tuned on.
        config: The best.
        origin: Who says so.
        seconds: The time of one call, if the file tells; None if not.
        details: What else the file tells of it, and a file that is written from it needs.
        version: The tunable's version, where the file tells it or the tunable is ours.
    """

    tunable: str
    workload: Workload
    device: Device
    config: Config
    origin: Origin
    seconds: float | None = None
    details: Mapping[str, Scalar] = field(default_factory=dict)
    version: str = ""

    @property
    def task(self) -> Task:
        """What the config was found for."""
        return Task(self.tunable, self.version, self.workload, self.device)


@dataclass(frozen=True, slots=True)
class Request:
    """What the caller adds to what a file tells.

    Attributes:
        kernel: What the findings are of, where the file does not tell or a kernel of ours is to have them.
        fields: Fields of the workload that the file does not tell.
        device: The device, where the file does not tell.
        keys: Names of the workload's fields, where a file has their values only.
        space: A file that has the search space of the results, where those do not.
    """

    kernel: str = ""
    fields: Mapping[str, Scalar] = field(default_factory=dict)
    device: Device | None = None
    keys: tuple[str, ...] = ()
    space: Path | None = None

    def need_kernel(self, document: Document, example: str) -> str:
        """Return the kernel that was asked for.

        Raises:
            ExchangeError: there is none.
        """
        if not self.kernel:
            raise ExchangeError(f"{document.path} does not tell whose it is; say it with --kernel, such as {example}")
        return self.kernel

    def need_device(self, document: Document) -> Device:
        """Return the device that was asked for.

        Raises:
            ExchangeError: there is none.
        """
        if self.device is None:
            raise ExchangeError(
                f"{document.path} does not tell the device; say it with --target h100, --device cuda or --device cpu"
            )
        return self.device


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file or a folder tells.

    Attributes:
        findings: The best configs, in the order of the files; what is to be kept.
        space: The search space, of a file that has one.
        trials: All results, of a file of them.
        task: What those are of.
        origin: Whose those are.
        notes: What the reader should know: what was left out, and why.
    """

    findings: tuple[Finding, ...] = ()
    space: SearchSpace | None = None
    trials: tuple[Trial, ...] = ()
    task: Task | None = None
    notes: tuple[str, ...] = ()
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """A task with its space and what was measured of it."""

    task: Task
    space: SearchSpace
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be written.

    Attributes:
        winners: The winners, the oldest first.
        search: A task with its space and trials, for formats of spaces and results.
        autotuner: Reference of a function decorated with `triton.autotune`, for entries of Triton's cache.
        dtypes: Dtypes of its tensors, in the order of its arguments, as torch prints them.
    """

    winners: Sequence[Winner] = ()
    search: Search | None = None
    autotuner: str = ""
    dtypes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Writing:
    """What was written.

    Attributes:
        files: The files, in order.
        configs: How many configs they hold.
        notes: What the reader should know: what was left out, and why; where the other program looks.
    """

    files: tuple[Path, ...]
    configs: int
    notes: tuple[str, ...] = ()


class Format(Protocol):
    """A format of another program's files. Formats keep nothing; each call is on its own."""

    @property
    def program(self) -> str:
        """Whose format it is."""

    @property
    def about(self) -> str:
        """What its files hold, in a line."""

    @property
    def content(self) -> Content:
        """What its files are written from: winners, a search's trials, or its space."""

    def takes(self, tunable: str) -> bool:
        """Return whether winners of `tunable` may be written; where none is asked for, others are left out."""

    def read(self, path: Path, request: Request) -> Reading:
        """Return what a file, or a folder of files, tells.

        Raises:
            ExchangeError: it cannot be read or is not of this format; the message names file and field.
        """

    def write(self, path: Path, selection: Selection) -> Writing:
        """Write what was selected to a file or a folder, whole or not at all.

        Raises:
            ExchangeError: the format cannot hold it, or the file cannot be written.
        """


def named_device(name: str) -> Device:
    """Return the GPU of this name, with its limits where it is one of the table; else what the name alone tells.

    Spaces and underscores count as the same, since file names have no spaces.

    Example:
        >>> named_device("NVIDIA_H100_80GB_HBM3").arch
        'sm_90'
        >>> named_device("AMD_Instinct_MI250").kind
        'hip'
    """
    plain = name.replace("_", " ")
    for short, gpu in GPUS.items():
        if gpu.name.replace("_", " ") == plain:
            return target_device(short)
    kind = next((kind for maker, kind in _MAKERS.items() if plain.lower().startswith(maker)), "")
    return Device(kind=kind, name=plain, arch="", count=1, memory_bytes=0)


_MAKERS: Mapping[str, str] = {"nvidia": "cuda", "amd": "hip", "radeon": "hip"}
