"""The store on disk or on a server: SQLite and PostgreSQL through SQLAlchemy."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tuner.db import conversion, refusal, standing
from tuner.db.codec import now
from tuner.db.engine import Identity, connect, default_store_url, explained, locate, writing
from tuner.db.memory import MemoryStore
from tuner.db.rows import (
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
from tuner.db.schema import ensure_schema, upgrade_store
from tuner.db.statement import (
    add_misses,
    find_task,
    find_winner,
    intern_device,
    intern_devices,
    intern_tasks,
    keep_winner,
    make,
    require_campaign,
    select_misses,
    select_records,
    select_winners,
    standings_of,
    subtract_misses,
)
from tuner.db.store import CampaignRecord, CampaignState, StateChange, Store
from tuner.types import Device, Miss, Peaks, State, Task, Trial, Winner

__all__ = ["SqlStore", "default_store_url", "open_store", "upgrade_store"]


def open_store(where: str | Path | None = None) -> Store:
    """Return the store at a path (SQLite) or a URL, made if it is new; the user's own store for None.

    `memory:` gives a store in memory.

    Raises:
        StoreError: it cannot be opened, or has tables of another version, or that are not ours.
        MissingDependencyError: the database's driver is not installed.
    """
    return MemoryStore() if where == "memory:" else SqlStore(default_store_url() if where is None else where)


class SqlStore:
    """Keeps everything in a SQL database, which processes share; safe to call from any thread.

    What a method has kept when it returns survives its process being killed. On SQLite a power cut may take the last
    few commits, and leaves the rest whole.

    Args:
        where: Path of a SQLite file, or a URL: `sqlite:///FILE`, `postgresql://USER@HOST/NAME`.
        timeout_seconds: How long to wait for another process's lock (SQLite), or for the server (PostgreSQL).

    Raises:
        StoreError: it cannot be opened, or has tables of another version, or that are not ours.
        MissingDependencyError: the database's driver is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = SqlStore(f"{folder}/tuner.db")
        ...     campaign = store.create_campaign({"agent": "random"}, tasks=[])
        ...     store.close()
        ...     store = SqlStore(f"{folder}/tuner.db")
        ...     print(store.campaign(campaign).spec)
        ...     store.close()
        {'agent': 'random'}
    """

    def __init__(self, where: str | Path, *, timeout_seconds: float = 30.0) -> None:
        self._url = locate(where)
        self._engine = connect(self._url, timeout_seconds=timeout_seconds)
        self._writing = writing(self._engine)
        try:
            with explained(self._url):
                ensure_schema(self._engine, timeout_seconds=timeout_seconds)
        except BaseException:
            self._engine.dispose()
            raise
        self._identity = Identity(self._url)

    def create_campaign(self, spec: Mapping[str, Any], tasks: Sequence[Task]) -> str:
        """Keep a new running campaign over `tasks` and return its identifier."""
        refusal.require_different(tasks)
        with self._write() as session:
            return _add_campaign(session, spec, tasks, CampaignState.RUNNING)

    def add_finished_campaign(self, spec: Mapping[str, Any], task: Task, trials: Sequence[Trial]) -> str:
        """Keep a campaign that was not run here, finished, with all its trials: all of it or none."""
        refusal.require_numbered(task, trials)
        with self._write() as session:
            campaign = _add_campaign(session, spec, [task], CampaignState.FINISHED)
            identity = {"campaign_id": campaign, "task_id": find_task(session, campaign, task)}
            rows = [{**identity, **conversion.trial_values(replace(trial, campaign=campaign))} for trial in trials]
            if rows:
                session.execute(insert(TrialRow), rows)
        return campaign

    def campaign(self, campaign: str) -> CampaignRecord:
        """Return a campaign by its identifier or an unambiguous beginning of it."""
        with self._read() as session:
            start = func.substr(CampaignRow.id, 1, len(campaign)) == campaign
            found = session.execute(select_records().where(start).limit(6)).all()
            if not found:
                raise refusal.unknown_campaign(campaign)
            if len(found) > 1:
                raise refusal.ambiguous_campaign(campaign, [row.id for row, _ in found])
            return conversion.campaign_record(*found[0])

    def campaigns(self) -> list[CampaignRecord]:
        """Return all campaigns, the newest first."""
        with self._read() as session:
            return [conversion.campaign_record(row, trials) for row, trials in session.execute(select_records())]

    def set_campaign_state(self, campaign: str, state: CampaignState, *, add_wall_seconds: float = 0.0) -> None:
        """Move a campaign to `state`, and add to the time that it has run."""
        with self._write() as session:
            moved = session.execute(
                update(CampaignRow)
                .where(CampaignRow.id == campaign)
                .values(state=state.value, wall_seconds=CampaignRow.wall_seconds + add_wall_seconds)
                .returning(CampaignRow.id)
            )
            if moved.first() is None:
                raise refusal.unknown_campaign(campaign)

    def tasks(self, campaign: str) -> list[Task]:
        """Return a campaign's tasks in order, with the environment under which it was created."""
        query = (
            select(TaskRow, DeviceRow, EnvironmentRow)
            .select_from(CampaignTaskRow)
            .join(TaskRow, TaskRow.id == CampaignTaskRow.task_id)
            .join(DeviceRow, DeviceRow.id == TaskRow.device_id)
            .join(EnvironmentRow, EnvironmentRow.id == CampaignTaskRow.environment_id)
            .where(CampaignTaskRow.campaign_id == campaign)
            .order_by(CampaignTaskRow.position)
        )
        with self._read() as session:
            require_campaign(session, campaign)
            return [conversion.task(*rows) for rows in session.execute(query)]

    def add_trial(self, task: Task, trial: Trial) -> None:
        """Keep a trial of a campaign; its number within the campaign and task is new."""
        with self._write() as session:
            identity = {"campaign_id": trial.campaign, "task_id": find_task(session, trial.campaign, task)}
            try:
                session.execute(insert(TrialRow).values(**identity, **conversion.trial_values(trial)))
            except IntegrityError:
                raise refusal.number_taken(trial.campaign, task, trial.number) from None

    def trials(self, campaign: str, task: Task) -> list[Trial]:
        """Return a campaign's trials of a task in order of their numbers."""
        with self._read() as session:
            of_task = (TrialRow.campaign_id == campaign, TrialRow.task_id == find_task(session, campaign, task))
            return [
                conversion.trial(row)
                for row in session.scalars(select(TrialRow).where(*of_task).order_by(TrialRow.number))
            ]

    def finish_task(
        self, campaign: str, task: Task, outcome: Mapping[str, Any], winner: Winner | None
    ) -> Winner | None:
        """Keep how a task of a campaign ended, with its winner if there is one, in one transaction."""
        if winner is not None and winner.task.key != task.key:
            raise refusal.wrong_task(task, winner.task)
        with self._write() as session:
            task_id = find_task(session, campaign, task)
            session.execute(
                update(CampaignTaskRow)
                .where(CampaignTaskRow.campaign_id == campaign, CampaignTaskRow.task_id == task_id)
                .values(outcome=outcome)
            )
            if winner is None:
                return None
            return keep_winner(session, task_id, replace(winner, campaign=campaign), f"found by campaign {campaign}")

    def outcomes(self, campaign: str) -> dict[str, Mapping[str, Any]]:
        """Return how the finished tasks of a campaign ended, by task key."""
        query = (
            select(TaskRow.key, CampaignTaskRow.outcome)
            .join(TaskRow, TaskRow.id == CampaignTaskRow.task_id)
            .where(CampaignTaskRow.campaign_id == campaign, CampaignTaskRow.outcome.is_not(None))
            .order_by(CampaignTaskRow.position)
        )
        with self._read() as session:
            require_campaign(session, campaign)
            return {key: outcome for key, outcome in session.execute(query) if outcome is not None}

    def add_winner(self, winner: Winner, why: str) -> Winner:
        """Keep a winner that no campaign of this store found, such as an imported one."""
        [kept] = self.add_winners([winner], why)
        return kept

    def add_winners(self, winners: Sequence[Winner], why: str) -> list[Winner]:
        """Keep several winners that no campaign of this store found: all of them or none."""
        for winner in winners:
            refusal.require_candidate(winner)
        with self._write() as session:
            ids = intern_tasks(session, [winner.task for winner in winners])
            return [
                keep_winner(session, task_id, winner, why) for (task_id, _), winner in zip(ids, winners, strict=True)
            ]

    def winners(
        self, *, tunable: str | None = None, state: State | None = State.PROMOTED, place: str | None = None
    ) -> list[Winner]:
        """Return winners, the newest first, of one tunable or of all, in one state or in all (None)."""
        query = select_winners().order_by(WinnerRow.id.desc())
        if tunable is not None:
            query = query.where(TaskRow.tunable == tunable)
        if state is not None:
            query = query.where(WinnerRow.state == state.value)
        if place is not None:
            query = query.where(TaskRow.place == place)
        with self._read() as session:
            return [conversion.winner(*rows) for rows in session.execute(query)]

    def winner(self, winner: int) -> Winner:
        """Return a winner."""
        with self._read() as session:
            return find_winner(session, winner)

    def promote(self, winner: int, why: str, *, despite_quarantine: bool = False) -> Winner:
        """Serve a winner from now on; the task's other promoted winner retires."""
        with self._write() as session:
            standings = standings_of(session, winner)
            make(session, standing.promote(standings, winner, why, despite_quarantine=despite_quarantine))
            return find_winner(session, winner)

    def quarantine(self, winner: int, why: str) -> Winner:
        """Never serve a winner again, until somebody lifts that."""
        refusal.require_reason(why)
        with self._write() as session:
            make(session, standing.quarantine(standings_of(session, winner), winner, why))
            return find_winner(session, winner)

    def rollback(self, winner: int, why: str) -> Winner:
        """Quarantine the promoted winner of a task, and promote the one that was promoted before it."""
        refusal.require_reason(why)
        with self._write() as session:
            moves = standing.rollback(standings_of(session, winner), winner, why)
            make(session, moves)
            return find_winner(session, moves[-1].winner)

    def set_winner_state(self, winner: int, state: State, why: str) -> None:
        """Move a winner to `state`, whatever it was, and append to its history."""
        with self._write() as session:
            make(session, standing.move(standings_of(session, winner), winner, state, why))

    def history(self, winner: int) -> list[StateChange]:
        """Return a winner's history, oldest first."""
        query = select(WinnerHistoryRow).where(WinnerHistoryRow.winner_id == winner).order_by(WinnerHistoryRow.id)
        with self._read() as session:
            changes = [conversion.state_change(row) for row in session.scalars(query)]
        if not changes:
            raise refusal.unknown_winner(winner)
        return changes

    def peaks(self, device: Device) -> Peaks | None:
        """Return the peaks that were measured last on this model of hardware; None if never."""
        with self._read() as session:
            data = session.scalar(select(DeviceRow.peaks).where(DeviceRow.fingerprint == device.fingerprint))
        return None if data is None else Peaks.from_json(data)

    def keep_peaks(self, device: Device, peaks: Peaks) -> None:
        """Keep the peaks of a model of hardware in place of those that were kept before."""
        with self._write() as session:
            device_id = intern_device(session, device)
            session.execute(update(DeviceRow).where(DeviceRow.id == device_id).values(peaks=peaks.to_json()))

    def add_misses(self, misses: Sequence[Miss]) -> None:
        """Keep what serving code missed: counts add up for the same kernel, workload and model of hardware."""
        with self._write() as session:
            on = intern_devices(session, [miss.device for miss in misses])
            add_misses(session, sorted(misses, key=_in_order), on)

    def misses(self, *, kernel: str | None = None, limit: int | None = None) -> list[Miss]:
        """Return what was missed, the most often missed first, of one kernel or of all; at most `limit`."""
        query = select_misses().order_by(MissRow.count.desc(), MissRow.key).limit(limit)
        if kernel is not None:
            query = query.where(MissRow.kernel == kernel)
        with self._read() as session:
            return [conversion.miss(*rows) for rows in session.execute(query)]

    def forget_misses(self, misses: Sequence[Miss]) -> None:
        """Take the counts of `misses` off those that are kept; what is missed meanwhile stays."""
        with self._write() as session:
            subtract_misses(session, sorted(misses, key=_in_order))

    def close(self) -> None:
        """Release connections."""
        self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[Session]:
        self._identity.check()
        with explained(self._url), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def _write(self) -> Iterator[Session]:
        self._identity.check()
        with explained(self._url), Session(self._writing) as session, session.begin():
            yield session


def _add_campaign(session: Session, spec: Mapping[str, Any], tasks: Sequence[Task], state: CampaignState) -> str:
    """Add a campaign over `tasks`, and return its identifier, which no other one has."""
    identifiers = intern_tasks(session, tasks)
    campaign = secrets.token_hex(4)
    while session.get(CampaignRow, campaign) is not None:
        campaign = secrets.token_hex(4)
    session.execute(
        insert(CampaignRow).values(id=campaign, state=state.value, spec=spec, created_at=now(), wall_seconds=0.0)
    )
    if tasks:
        rows = [
            {"campaign_id": campaign, "task_id": task_id, "environment_id": environment_id, "position": position}
            for position, (task_id, environment_id) in enumerate(identifiers)
        ]
        session.execute(insert(CampaignTaskRow), rows)
    return campaign


def _in_order(miss: Miss) -> str:
    """Return what all writers of misses go by, so that no two of them deadlock."""
    return miss.key
