"""The steps that the SQL store's transactions are made of. Each runs in the session that it is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, bindparam, case, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from tuner.db import conversion, refusal, standing
from tuner.db.codec import now, same
from tuner.db.rows import (
    Base,
    CampaignRow,
    CampaignTaskRow,
    DeviceRow,
    EnvironmentRow,
    MissRow,
    TaskRow,
    TrialRow,
    WinnerHistoryRow,
    WinnerRow,
)
from tuner.db.standing import Move, Newcomer, Standing
from tuner.phrase import purpose_text
from tuner.types import Device, Miss, State, Task, Winner

__all__ = [
    "add_misses",
    "find_task",
    "find_winner",
    "intern_device",
    "intern_devices",
    "intern_tasks",
    "keep_winner",
    "make",
    "require_campaign",
    "select_misses",
    "select_records",
    "select_winners",
    "standings_of",
    "subtract_misses",
]

_MISSES = Base.metadata.tables[MissRow.__tablename__]


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


def select_misses() -> Select[MissRow, DeviceRow, EnvironmentRow]:
    """Return the query of misses with their devices."""
    return (
        select(MissRow, DeviceRow, EnvironmentRow)
        .join(DeviceRow, DeviceRow.id == MissRow.device_id)
        .join(EnvironmentRow, EnvironmentRow.id == MissRow.environment_id)
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


def intern_devices(session: Session, devices: Iterable[Device]) -> dict[Device, tuple[int, int]]:
    """Return the row identifiers of each device's model and of its environment, inserted where they are new.

    Tables and keys are visited in one order, so that two transactions that insert the same cannot deadlock.
    """
    by_device = {device: conversion.environment_values(device) for device in devices}
    models = {device.fingerprint: device for device in by_device}
    environments = {values["key"]: values for values in by_device.values()}
    model_ids = {key: intern_device(session, models[key]) for key in sorted(models)}
    environment_ids = {
        key: _intern(session, EnvironmentRow, EnvironmentRow.key, environments[key]) for key in sorted(environments)
    }
    return {
        device: (model_ids[device.fingerprint], environment_ids[values["key"]]) for device, values in by_device.items()
    }


def intern_tasks(session: Session, tasks: Sequence[Task]) -> list[tuple[int, int]]:
    """Return the row identifiers of each task and of its environment, inserted where they are new; see above."""
    on = intern_devices(session, (task.device for task in tasks))
    task_ids = {
        task.key: _intern(
            session, TaskRow, TaskRow.key, {**conversion.task_values(task), "device_id": on[task.device][0]}
        )
        for task in sorted(tasks, key=lambda task: task.key)
    }
    return [(task_ids[task.key], on[task.device][1]) for task in tasks]


def find_winner(session: Session, winner: int) -> Winner:
    """Return a winner; raise `StoreError` if there is none."""
    rows = session.execute(select_winners().where(WinnerRow.id == winner)).first()
    if rows is None:
        raise refusal.unknown_winner(winner)
    return conversion.winner(*rows)


def standings_of(session: Session, winner: int) -> list[Standing]:
    """Return how the winners of the place of `winner` stand; nobody else moves them before this transaction ends.

    Raises:
        StoreError: there is no such winner.
    """
    of_winner = select(TaskRow.place).join(WinnerRow, WinnerRow.task_id == TaskRow.id).where(WinnerRow.id == winner)
    place = session.scalar(of_winner)
    if place is None:
        raise refusal.unknown_winner(winner)
    return _standings(session, place)


def make(session: Session, moves: Sequence[Move]) -> None:
    """Make moves in their order, and write each into the winner's history."""
    for made in moves:
        session.execute(update(WinnerRow).where(WinnerRow.id == made.winner).values(state=made.state.value))
        _append_history(session, made)


def keep_winner(session: Session, task_id: int, winner: Winner, why: str) -> Winner:
    """Return `winner` as kept: inserted, unless the same proof of the same campaign is there already.

    Args:
        session: The transaction.
        task_id: Its task's row.
        winner: The winner; its campaign is empty where none found it.
        why: The first entry of its history.
    """
    environment = conversion.environment_values(winner.task.device)
    environment_id = _intern(session, EnvironmentRow, EnvironmentRow.key, environment)
    standings = _standings(session, winner.task.place)
    if known := _same_winner(session, task_id, winner):
        return known
    new = Newcomer(task_id, winner.config.key, winner.state, winner.campaign, purpose_text(winner.evidence.objective))
    state, entry, retired = standing.admit(standings, new, why)
    kept = replace(winner, state=state)
    for other in retired:  # before the new one is there: the database holds no two promoted winners of a task
        session.execute(update(WinnerRow).where(WinnerRow.id == other).values(state=State.RETIRED.value))
    identity = {"task_id": task_id, "campaign_id": winner.campaign or None, "environment_id": environment_id}
    values = {**identity, **conversion.winner_values(kept)}
    winner_id = session.execute(insert(WinnerRow).values(**values).returning(WinnerRow.id)).scalar_one()
    for other in retired:
        _append_history(session, Move(other, State.RETIRED, f"replaced by winner {winner_id}"))
    _append_history(session, Move(winner_id, state, entry))
    return replace(kept, id=winner_id)


def add_misses(session: Session, misses: Sequence[Miss], on: Mapping[Device, tuple[int, int]]) -> None:
    """Add misses to those that are kept.

    Args:
        session: The transaction.
        misses: In one order for all writers, so that no two deadlock.
        on: From each device to the row identifiers of its model and its environment.
    """
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(_MISSES)
    new, kept = statement.excluded, _MISSES.c
    later = new.last_at >= kept.last_at
    last = ("environment_id", "source", "last_at")
    statement = statement.on_conflict_do_update(
        index_elements=[kept.key],
        set_={
            "count": kept.count + new.count,
            **{name: case((later, new[name]), else_=kept[name]) for name in last},
        },
    )
    rows = [
        {**conversion.miss_values(miss), "device_id": on[miss.device][0], "environment_id": on[miss.device][1]}
        for miss in misses
    ]
    if rows:
        session.connection().execute(statement, rows)


def subtract_misses(session: Session, misses: Sequence[Miss]) -> None:
    """Take the counts of misses off what is kept of them; nothing is kept of what was not missed since."""
    kept = _MISSES.c
    rows = [{"of_key": miss.key, "seen": miss.count} for miss in misses]
    if not rows:
        return
    of_key = kept.key == bindparam("of_key")
    connection = session.connection()
    connection.execute(delete(_MISSES).where(of_key, kept.count <= bindparam("seen")), rows)
    left = kept.count - bindparam("seen")
    connection.execute(update(_MISSES).where(of_key).values(count=left), rows)


def _standings(session: Session, place: str) -> list[Standing]:
    # On SQLite the whole transaction holds the write lock already, and this reads rows.
    lock = select(TaskRow.id).where(TaskRow.place == place).order_by(TaskRow.id).with_for_update(key_share=True)
    tasks = list(session.scalars(lock))
    found = session.execute(
        select(
            WinnerRow.id,
            WinnerRow.task_id,
            WinnerRow.config_key,
            WinnerRow.state,
            WinnerRow.campaign_id,
            # As a whole: PostgreSQL refuses to look into JSON that holds any text.
            WinnerRow.evidence,
        )
        .where(WinnerRow.task_id.in_(tasks))
        .order_by(WinnerRow.id)
    ).all()
    why: dict[int, str] = {}
    promoted: dict[int, int] = {}
    history = (
        select(WinnerHistoryRow)
        .join(WinnerRow, WinnerRow.id == WinnerHistoryRow.winner_id)
        .where(WinnerRow.task_id.in_(tasks))
        .order_by(WinnerHistoryRow.id)
    )
    for entry in session.scalars(history):
        why[entry.winner_id] = entry.why
        if entry.state == State.PROMOTED.value:
            promoted[entry.winner_id] = entry.id
    return [
        Standing(
            number,
            task,
            config,
            State(state),
            why.get(number, ""),
            promoted.get(number, 0),
            campaign or "",
            purpose_text(evidence.get("objective")),
        )
        for number, task, config, state, campaign, evidence in found
    ]


def _append_history(session: Session, made: Move) -> None:
    entry = {"at": now(), "state": made.state.value, "why": conversion.storable(made.why)}
    session.execute(insert(WinnerHistoryRow).values(winner_id=made.winner, **entry))


def _same_winner(session: Session, task_id: int, winner: Winner) -> Winner | None:
    query = select_winners().where(
        WinnerRow.task_id == task_id,
        WinnerRow.campaign_id == winner.campaign if winner.campaign else WinnerRow.campaign_id.is_(None),
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
