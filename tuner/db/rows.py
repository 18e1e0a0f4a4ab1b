"""The tables, as typed rows. A change here needs a migration: a test compares the two.

Text that identifies is a digest of fixed length; times are UTC, ISO 8601, of one length, so that text order is time
order; JSON columns always hold an object (SQLite would turn a bare number into its own).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "Base",
    "CampaignRow",
    "CampaignTaskRow",
    "DeviceRow",
    "EnvironmentRow",
    "MissRow",
    "TaskRow",
    "TrialRow",
    "WinnerHistoryRow",
    "WinnerRow",
]

Json = dict[str, Any]

_DIGEST = String(16)
_NAME = String(16)
_TIME = String(32)
_PROMOTED = text("state = 'promoted'")


class Base(DeclarativeBase):
    """Base of all rows: constraints get names, so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {Json: JSON(none_as_null=True), str: Text(), float: Double()}  # noqa: RUF012 (SQLAlchemy reads it as it is)


class DeviceRow(Base):
    """A model of hardware: what `Device.fingerprint` covers, and the peaks measured on it (NULL before)."""

    __tablename__ = "devices"

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(_DIGEST, unique=True)
    data: Mapped[Json]
    peaks: Mapped[Json | None]


class EnvironmentRow(Base):
    """What may differ between two devices of one model: the environment and the size of memory.

    `key` identifies all of it; `fingerprint` is `Device.environment_fingerprint`, which tells stale winners.
    """

    __tablename__ = "environments"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(_DIGEST, unique=True)
    fingerprint: Mapped[str] = mapped_column(_DIGEST)
    data: Mapped[Json]


class TaskRow(Base):
    """A tunable at one version on one workload on one model of hardware.

    `place` is `Task.place`: whoever moves a winner locks all rows of its place.
    """

    __tablename__ = "tasks"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(_DIGEST, unique=True)
    tunable: Mapped[str] = mapped_column(index=True)
    version: Mapped[str]
    workload: Mapped[Json]
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id"))
    place: Mapped[str] = mapped_column(_DIGEST, index=True, server_default=text("''"))


class CampaignRow(Base):
    """A campaign."""

    __tablename__ = "campaigns"

    id: Mapped[str] = mapped_column(String(8), primary_key=True)
    state: Mapped[str] = mapped_column(_NAME)
    spec: Mapped[Json]
    created_at: Mapped[str] = mapped_column(_TIME)
    wall_seconds: Mapped[float]


class CampaignTaskRow(Base):
    """One task of a campaign, the environment it was created under, and how it ended (NULL while it has not)."""

    __tablename__ = "campaign_tasks"
    __table_args__ = (UniqueConstraint("campaign_id", "position"),)

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    environment_id: Mapped[int] = mapped_column(ForeignKey("environments.id"))
    position: Mapped[int]
    outcome: Mapped[Json | None]


class TrialRow(Base):
    """A trial with its raw samples."""

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("campaign_id", "task_id", "number"),
        ForeignKeyConstraint(["campaign_id", "task_id"], ["campaign_tasks.campaign_id", "campaign_tasks.task_id"]),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(String(8))
    task_id: Mapped[int]
    number: Mapped[int]
    config: Mapped[Json]
    config_key: Mapped[str] = mapped_column(_DIGEST)
    status: Mapped[str] = mapped_column(_NAME)
    samples: Mapped[Json]
    build_seconds: Mapped[float]
    measure_seconds: Mapped[float]
    resources: Mapped[Json]
    error: Mapped[str]
    created_at: Mapped[str] = mapped_column(_TIME)


class WinnerRow(Base):
    """A proven config, or an imported one; the database itself refuses a second promoted one for the same task.

    `campaign_id` is NULL where no campaign found it.
    """

    __tablename__ = "winners"
    __table_args__ = (
        ForeignKeyConstraint(["campaign_id", "task_id"], ["campaign_tasks.campaign_id", "campaign_tasks.task_id"]),
        Index("uq_winners_promoted", "task_id", unique=True, sqlite_where=_PROMOTED, postgresql_where=_PROMOTED),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)
    campaign_id: Mapped[str | None] = mapped_column(String(8))
    environment_id: Mapped[int] = mapped_column(ForeignKey("environments.id"))
    config: Mapped[Json]
    config_key: Mapped[str] = mapped_column(_DIGEST)
    evidence: Mapped[Json]
    state: Mapped[str] = mapped_column(_NAME, index=True)
    created_at: Mapped[str] = mapped_column(_TIME)


class WinnerHistoryRow(Base):
    """One entry of a winner's history: only ever inserted."""

    __tablename__ = "winner_history"

    id: Mapped[int] = mapped_column(primary_key=True)
    winner_id: Mapped[int] = mapped_column(ForeignKey("winners.id"), index=True)
    at: Mapped[str] = mapped_column(_TIME)
    state: Mapped[str] = mapped_column(_NAME)
    why: Mapped[str]


class MissRow(Base):
    """What serving code asked for and did not find; `key` is `Miss.key`."""

    __tablename__ = "misses"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(_DIGEST, unique=True)
    kernel: Mapped[str] = mapped_column(index=True)
    workload: Mapped[Json]
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id"))
    environment_id: Mapped[int] = mapped_column(ForeignKey("environments.id"))
    count: Mapped[int] = mapped_column(BigInteger(), index=True)
    source: Mapped[str]
    last_at: Mapped[str] = mapped_column(_TIME)
