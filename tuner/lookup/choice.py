"""What a lookup answers: a config, where it comes from, and what is known of the winner behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tuner.types import Config, Device, State, Winner, Workload

__all__ = ["Choice", "Proof", "Source"]


class Source(StrEnum):
    """Where a choice comes from, the best first.

    `stale` says that the winner was proven under another compiler, driver, library or version of the kernel.
    """

    EXACT = "exact"
    EXACT_STALE = "exact-stale"
    NEAREST = "nearest"
    NEAREST_STALE = "nearest-stale"
    COMPATIBLE = "compatible"
    COMPATIBLE_STALE = "compatible-stale"
    DEFAULT = "default"
    UNKNOWN = "unknown"

    @property
    def is_hit(self) -> bool:
        """Whether it is of exactly this workload on this device; everything else is a miss, for a campaign to come."""
        return self in (Source.EXACT, Source.EXACT_STALE)

    @property
    def is_stale(self) -> bool:
        """Whether what the winner was proven under has changed since."""
        return self in (Source.EXACT_STALE, Source.NEAREST_STALE, Source.COMPATIBLE_STALE)


@dataclass(frozen=True, slots=True)
class Proof:
    """A winner in short: what a snapshot carries of it.

    Attributes:
        id: The store's identifier of the winner.
        campaign: The campaign that found it.
        kernel: The tunable's name or reference.
        version: The tunable's version that was proven.
        workload: The workload on which it was proven.
        device: The device on which it was proven, with the environment of that time.
        config: The config.
        default: The config that it was compared with.
        speedup: Over the default.
        interval: Confidence interval of `speedup`.
        confidence: Level of the interval; 0 where it was not proven here, but told by another program.
        rounds: Number of pairs.
        measured_at: UTC, ISO 8601.
        state: Its state in the store.
        origin: Where it comes from, if it was not proven here: a file, another program.
    """

    id: int
    campaign: str
    kernel: str
    version: str
    workload: Workload
    device: Device
    config: Config
    default: Config
    speedup: float
    interval: tuple[float, float]
    confidence: float
    rounds: int
    measured_at: str
    state: State
    origin: str = ""

    @property
    def environment(self) -> Mapping[str, str]:
        """Compiler, driver and versions when it was proven."""
        return self.device.environment

    @classmethod
    def of(cls, winner: Winner) -> Proof:
        """Return a stored winner in short."""
        task, evidence = winner.task, winner.evidence
        device = Device.from_json({**task.device.to_json(), "environment": dict(evidence.environment)})
        return cls(
            id=winner.id,
            campaign=winner.campaign,
            kernel=task.tunable,
            version=task.version,
            workload=task.workload,
            device=device,
            config=winner.config,
            default=evidence.default,
            speedup=evidence.speedup,
            interval=evidence.interval,
            confidence=evidence.confidence,
            rounds=evidence.rounds,
            measured_at=evidence.measured_at,
            state=winner.state,
            origin=evidence.origin,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The config to use, and why.

    Attributes:
        config: What to use; empty where nothing is known of the kernel, and the caller's own default is to be used.
        source: Where it comes from.
        winner: The winner behind it; None for a default.
        distance: Doublings between the workload that was asked for and the winner's (`tuner.nearby.distance`); 0 where
            they are the same, None where there is no winner.
    """

    config: Config
    source: Source
    winner: Proof | None = None
    distance: float | None = None
