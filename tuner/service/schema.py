"""What the read API answers, as JSON: the models that its OpenAPI document shows."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from tuner.lookup import Choice, Proof
from tuner.types import Miss

__all__ = ["Best", "Health", "MissEntry", "Misses", "Problem", "WinnerEntry", "Winners"]

Value = bool | int | float | str
Kernel = Annotated[str, Field(description="The tunable's reference.", examples=["cpp:add_rmsnorm"])]
Shape = Annotated[dict[str, Value], Field(description="The workload.", examples=[{"M": 1, "N": 4096, "dtype": "fp32"}])]
Values = Annotated[dict[str, Value], Field(description="One value for each parameter.", examples=[{"UNROLL": 4}])]
DeviceName = Annotated[str, Field(description="Name of the model of hardware.", examples=["NVIDIA H200"])]
Time = Annotated[str, Field(description="UTC, ISO 8601.", examples=["2026-01-31T12:00:00+00:00"])]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class WinnerEntry(_Answer):
    """A config that was proven on a workload and a device."""

    id: int
    campaign: str
    kernel: Kernel
    version: Annotated[str, Field(description="Of the kernel's source.")]
    workload: Shape
    device: DeviceName
    config: Values
    state: Annotated[str, Field(examples=["promoted"])]
    speedup: Annotated[float | None, Field(description="Over the default, from paired measurements.", examples=[1.41])]
    interval: Annotated[
        tuple[float | None, float | None],
        Field(description="Of the speed-up; null where an end is not known.", examples=[(1.38, 1.44)]),
    ]
    confidence: Annotated[float, Field(description="Level of the interval.", examples=[0.99])]
    measured_at: Time

    @classmethod
    def of(cls, proof: Proof) -> Self:
        """Return a winner as JSON has it, which knows no infinity."""
        low, high = proof.interval
        return cls(
            id=proof.id,
            campaign=proof.campaign,
            kernel=proof.kernel,
            version=proof.version,
            workload=dict(proof.workload),
            device=proof.device.name,
            config=dict(proof.config),
            state=proof.state.value,
            speedup=_finite(proof.speedup),
            interval=(_finite(low), _finite(high)),
            confidence=proof.confidence,
            measured_at=proof.measured_at,
        )


class Best(_Answer):
    """Which config to use, and where the answer comes from."""

    kernel: Kernel
    workload: Shape
    config: Annotated[Values, Field(description="Empty where nothing is known of the kernel.")]
    source: Annotated[
        str,
        Field(
            description="exact, exact-stale, nearest, nearest-stale, compatible, compatible-stale, default or unknown.",
            examples=["exact"],
        ),
    ]
    distance: Annotated[float | None, Field(description="Doublings to the winner's workload.", examples=[0.0])]
    winner: WinnerEntry | None

    @classmethod
    def of(cls, kernel: str, workload: dict[str, Value], choice: Choice) -> Self:
        """Return a lookup's answer as JSON has it."""
        return cls(
            kernel=kernel,
            workload=workload,
            config=dict(choice.config),
            source=choice.source.value,
            distance=choice.distance,
            winner=None if choice.winner is None else WinnerEntry.of(choice.winner),
        )


class Winners(_Answer):
    """Winners, the newest first."""

    winners: list[WinnerEntry]
    total: Annotated[int, Field(description="How many there are; more than are listed where `limit` cut them off.")]


class MissEntry(_Answer):
    """A workload that was asked for and had no winner of its own."""

    kernel: Kernel
    workload: Shape
    device: DeviceName
    count: Annotated[int, Field(description="How often it was asked for.", examples=[12])]
    source: Annotated[str, Field(description="What was served instead, the last time.", examples=["nearest"])]
    last_at: Time

    @classmethod
    def of(cls, miss: Miss) -> Self:
        """Return a miss as JSON has it."""
        return cls(
            kernel=miss.kernel,
            workload=dict(miss.workload),
            device=miss.device.name,
            count=miss.count,
            source=miss.source,
            last_at=miss.last_at,
        )


class Misses(_Answer):
    """Misses, the most asked for first."""

    misses: list[MissEntry]


class Health(_Answer):
    """Whether answers are given, and from what."""

    status: Annotated[str, Field(description="ok; degraded while something under `problems` lasts.", examples=["ok"])]
    winners: Annotated[int, Field(description="Workloads with a winner in the table that answers.")]
    digest: Annotated[str, Field(description="Of that table: equal wherever the same winners are served.")]
    problems: list[str]


class Problem(_Answer):
    """Why a question was not answered."""

    detail: str


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
