"""Between rows and the types of `tuner.types`: the one place that knows both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.db.codec import moment, now
from tuner.db.rows import (
    CampaignRow,
    DeviceRow,
    EnvironmentRow,
    MissRow,
    TaskRow,
    TrialRow,
    WinnerHistoryRow,
    WinnerRow,
)
from tuner.db.store import CampaignRecord, CampaignState, StateChange
from tuner.types import (
    Config,
    Device,
    Evidence,
    Measurement,
    Miss,
    State,
    Status,
    Task,
    Trial,
    Winner,
    Workload,
    digest,
)

__all__ = [
    "campaign_record",
    "device_values",
    "environment_values",
    "miss",
    "miss_values",
    "state_change",
    "storable",
    "task",
    "task_values",
    "trial",
    "trial_values",
    "winner",
    "winner_values",
]

_VARYING = ("memory_bytes", "environment")


def storable(text: str) -> str:
    """Return `text` with U+FFFD for what UTF-8 or PostgreSQL cannot carry: lone surrogates and NUL."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", "\ufffd")


def device_values(device: Device) -> dict[str, Any]:
    """Return the columns of a model of hardware."""
    data = {name: value for name, value in device.to_json().items() if name not in _VARYING}
    return {"fingerprint": device.fingerprint, "data": data}


def environment_values(device: Device) -> dict[str, Any]:
    """Return the columns of what may differ between devices of one model."""
    data = {name: value for name, value in device.to_json().items() if name in _VARYING}
    return {"key": digest(data), "fingerprint": device.environment_fingerprint, "data": data}


def task_values(of: Task) -> dict[str, Any]:
    """Return the columns of a task, except its device."""
    return {
        "key": of.key,
        "place": of.place,
        "tunable": of.tunable,
        "version": of.version,
        "workload": dict(of.workload),
    }


def task(row: TaskRow, device: DeviceRow, environment: EnvironmentRow) -> Task:
    """Return a task on its device under an environment."""
    whole: Mapping[str, Any] = {**device.data, **environment.data}
    return Task(row.tunable, row.version, Workload(row.workload), Device.from_json(whole))


def trial_values(of: Trial) -> dict[str, Any]:
    """Return the columns of a trial, except its campaign and task."""
    measurement = of.measurement
    return {
        "number": of.number,
        "config": dict(of.config),
        "config_key": of.config.key,
        "status": measurement.status.value,
        "samples": dict(measurement.samples),
        "build_seconds": measurement.build_seconds,
        "measure_seconds": measurement.measure_seconds,
        "resources": dict(measurement.resources),
        "error": storable(measurement.error),
        "created_at": now(),
    }


def trial(row: TrialRow) -> Trial:
    """Return a trial."""
    measurement = Measurement(
        status=Status(row.status),
        samples=row.samples,
        build_seconds=row.build_seconds,
        measure_seconds=row.measure_seconds,
        resources=row.resources,
        error=row.error,
    )
    return Trial(Config(row.config), measurement, row.campaign_id, row.number)


def winner_values(of: Winner) -> dict[str, Any]:
    """Return the columns of a new winner, except its campaign, task and environment."""
    return {
        "config": dict(of.config),
        "config_key": of.config.key,
        "evidence": of.evidence.to_json(),
        "state": of.state.value,
        "created_at": now(),
    }


def winner(row: WinnerRow, on: TaskRow, device: DeviceRow, environment: EnvironmentRow) -> Winner:
    """Return a winner on its task."""
    evidence = Evidence.from_json(row.evidence)
    on_task = task(on, device, environment)
    return Winner(on_task, Config(row.config), evidence, State(row.state), row.campaign_id or "", row.id)


def miss_values(of: Miss) -> dict[str, Any]:
    """Return the columns of a miss, except its device and environment.

    Raises:
        StoreError: its time is not ISO 8601.
    """
    return {
        "key": of.key,
        "kernel": storable(of.kernel),
        "workload": dict(of.workload),
        "count": of.count,
        "source": storable(of.source),
        "last_at": moment(of.last_at),
    }


def miss(row: MissRow, device: DeviceRow, environment: EnvironmentRow) -> Miss:
    """Return a miss."""
    on = Device.from_json({**device.data, **environment.data})
    return Miss(row.kernel, Workload(row.workload), on, row.count, row.source, row.last_at)


def campaign_record(row: CampaignRow, trials: int) -> CampaignRecord:
    """Return a campaign with the number of its trials."""
    return CampaignRecord(row.id, CampaignState(row.state), row.spec, row.created_at, row.wall_seconds, trials)


def state_change(row: WinnerHistoryRow) -> StateChange:
    """Return an entry of a winner's history."""
    return StateChange(row.at, State(row.state), row.why)
