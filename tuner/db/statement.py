"""The steps that the SQL store's transactions are made of. Each runs in the session that it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from tuner.db import conversion, refusal
from tuner.db.codec import now, same
from tuner.db.rows import (
    CampaignRow,
    CampaignTaskRow,
    DeviceRow,
    EnvironmentRow,
    TaskRow,
    TrialRow,
    WinnerHistoryRow,
    WinnerRow,
)
from tuner.types import Device, State, Task, Winner

__all__ = [
    "append_history",
    "find_task",
    "intern_device",
    "intern_tasks",
    "keep_winner",
    "lock_task",
    "require_campaign",
    "retire_promoted",
    "select_records",
    "select_winners",
]


def select_records() -> Select[CampaignRow, int]:
    """Return the query of campaigns with the numbers of their trials, the newest first."""
    trials = select(func.count()).where(TrialRow.campaign_id == CampaignRow.id).scalar_subquery()
    return select(CampaignRow, trials).order_by(CampaignRow.created_at.desc(), CampaignRow.id)


def select_winners() -> Select[WinnerRow, TaskRow, DeviceRow, EnvironmentRow]:
    """Return the query of winners with what their tasks consist of."""
    return (
        select(WinnerRow, TaskRow, DeviceRow, EnvironmentRow)
        .join(TaskRow, TaskRow.id == WinnerRow.task_id)
        .join(DeviceRow, DeviceRow.id == TaskRow.device_id)
        .join(EnvironmentRow, EnvironmentRow.id == WinnerRow.environment_id)
    )


def require_campaign(session: Session, campaign: str) -> None:
    """Raise `StoreError` if there is no campaign of exactly this identifier."""
    if session.scalar(select(CampaignRow.id).where(CampaignRow.id == campaign)) is None:
        raise refusal.unknown_campaign(campaign)


def find_task(session: Session, campaign: str, task: Task) -> int:
    """Return the row identifier of a task of a campaign; raise `StoreError` if the campaign does not have it."""
    query = (
        select(CampaignTaskRow.task_id)
        .join(TaskRow, TaskRow.id == CampaignTaskRow.task_id)
        .where(CampaignTaskRow.campaign_id == campaign, TaskRow.key == task.key)
    )
    found = session.scalar(query)
    if found is None:
        require_campaign(session, campaign)
        raise refusal.unknown_task(campaign, task)
    return found


def intern_device(session: Session, device: Device) -> int:
    """Return the row identifier of a model of hardware, inserted where it is new."""
    return _intern(session, DeviceRow, DeviceRow.fingerprint, conversion.device_values(device))


def intern_tasks(session: Session, tasks: Sequence[Task]) -> list[tuple[int, int]]:
    """Return the row identifiers of each task and of its environment, inserted where they are new.

    Tables and keys are visited in one order, so that two transactions that insert the same cannot deadlock.
    """
    devices = {task.device.fingerprint: task.device for task in tasks}
    environments = [conversion.environment_values(task.device) for task in tasks]
    device_ids = {key: intern_device(session, devices[key]) for key in sorted(devices)}
    by_key = {values["key"]: values for values in environments}
    environment_ids = {key: _intern(session, EnvironmentRow, EnvironmentRow.key, by_key[key]) for key in sorted(by_key)}
    task_ids = {
        task.key: _intern(
            session,
            TaskRow,
            TaskRow.key,
            {**conversion.task_values(task), "device_id": device_ids[task.device.fingerprint]},
        )
        for task in sorted(tasks, key=lambda task: task.key)
    }
    return [
        (task_ids[task.key], environment_ids[values["key"]]) for task, values in zip(tasks, environments, strict=True)
    ]


def lock_task(session: Session, task_id: int) -> None:
    """Make other promotions of this task wait for the end of this transaction.

    On SQLite the whole transaction holds the write lock already, and this reads a row.
    """
    session.execute(select(TaskRow.id).where(TaskRow.id == task_id).with_for_update(key_share=True))


def keep_winner(session: Session, task_id: int, winner: Winner) -> Winner:
    """Return `winner` as kept: inserted, unless the same proof of the same campaign is there already."""
    environment = conversion.environment_values(winner.task.device)
    environment_id = _intern(session, EnvironmentRow, EnvironmentRow.key, environment)
    lock_task(session, task_id)
    if known := _same_winner(session, task_id, winner):
        return known
    retired = retire_promoted(session, task_id) if winner.state is State.PROMOTED else []
    identity = {"task_id": task_id, "campaign_id": winner.campaign, "environment_id": environment_id}
    values = {**identity, **conversion.winner_values(winner)}
    winner_id = session.execute(insert(WinnerRow).values(**values).returning(WinnerRow.id)).scalar_one()
    append_history(session, retired, State.RETIRED, f"replaced by winner {winner_id}")
    append_history(session, [winner_id], winner.state, f"found by campaign {winner.campaign}")
    return replace(winner, id=winner_id)


def retire_promoted(session: Session, task_id: int, *, but: int = 0) -> list[int]:
    """Retire the promoted winner of a task, unless it is winner `but`; return who was retired."""
    promoted = (WinnerRow.task_id == task_id, WinnerRow.state == State.PROMOTED.value, WinnerRow.id != but)
    retired = update(WinnerRow).where(*promoted).values(state=State.RETIRED.value).returning(WinnerRow.id)
    return list(session.scalars(retired))


def append_history(session: Session, winners: Sequence[int], state: State, why: str) -> None:
    """Write into the histories of `winners` that they entered `state`."""
    entry = {"at": now(), "state": state.value, "why": conversion.storable(why)}
    for winner in winners:
        session.execute(insert(WinnerHistoryRow).values(winner_id=winner, **entry))


def _same_winner(session: Session, task_id: int, winner: Winner) -> Winner | None:
    query = select_winners().where(
        WinnerRow.task_id == task_id,
        WinnerRow.campaign_id == winner.campaign,
        WinnerRow.config_key == winner.config.key,
    )
    for rows in session.execute(query):
        known = conversion.winner(*rows)
        if same(known.evidence.to_json(), winner.evidence.to_json()):
            return known
    return None


def _intern(
    session: Session,
    row: type[DeviceRow] | type[EnvironmentRow] | type[TaskRow],
    key: InstrumentedAttribute[str],
    values: Mapping[str, Any],
) -> int:
    identity = select(row.id).where(key == values[key.key])
    found = session.scalar(identity)
    if found is not None:
        return found
    try:
        with session.begin_nested():
            return session.execute(insert(row).values(**values).returning(row.id)).scalar_one()
    except IntegrityError:  # another transaction inserted it in between
        return session.execute(identity).scalar_one()
