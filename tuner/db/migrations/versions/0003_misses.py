"""Misses; the places of tasks; winners that no campaign found."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from tuner.types import digest

__all__ = ["downgrade", "upgrade"]

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PROMOTED = sa.text("state = 'promoted'")


def upgrade() -> None:
    """Add the table of misses and the places; let a winner have no campaign."""
    op.create_table(
        "misses",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("kernel", sa.Text(), nullable=False),
        sa.Column("workload", sa.JSON(), nullable=False),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("last_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_misses"),
        sa.UniqueConstraint("key", name="uq_misses_key"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_misses_device_id_devices"),
        sa.ForeignKeyConstraint(["environment_id"], ["environments.id"], name="fk_misses_environment_id_environments"),
    )
    op.create_index("ix_misses_kernel", "misses", ["kernel"])
    op.create_index("ix_misses_count", "misses", ["count"])
    _add_places()
    if op.get_bind().dialect.name == "sqlite":
        _make_winners_anew()
    else:
        op.alter_column("winners", "campaign_id", existing_type=sa.String(8), nullable=True)
        op.create_foreign_key("fk_winners_task_id_tasks", "winners", "tasks", ["task_id"], ["id"])


def downgrade() -> None:
    """Refuse: winners that no campaign found have no place in the version before."""
    raise NotImplementedError("imported winners cannot be kept by the version before; restore a backup instead")


def _add_places() -> None:
    """Add the column, and fill it for the tasks that there are."""
    op.add_column("tasks", sa.Column("place", sa.String(16), nullable=False, server_default=sa.text("''")))
    tasks = sa.table(
        "tasks",
        sa.column("id", sa.Integer()),
        sa.column("tunable", sa.Text()),
        sa.column("workload", sa.JSON()),
        sa.column("device_id", sa.Integer()),
        sa.column("place", sa.String()),
    )
    devices = sa.table("devices", sa.column("id", sa.Integer()), sa.column("fingerprint", sa.String()))
    on = tasks.join(devices, tasks.c.device_id == devices.c.id)
    connection = op.get_bind()
    rows = connection.execute(
        sa.select(tasks.c.id, tasks.c.tunable, tasks.c.workload, devices.c.fingerprint).select_from(on)
    ).all()
    for number, tunable, workload, fingerprint in rows:
        place = digest([tunable, workload, fingerprint])
        connection.execute(tasks.update().where(tasks.c.id == number).values(place=place))
    op.create_index("ix_tasks_place", "tasks", ["place"])


def _make_winners_anew() -> None:
    """Copy the winners into a table whose campaigns may be NULL; SQLite cannot alter a column.

    Histories point to winners, and SQLite checks that within the transaction, too: so they step aside.
    """
    op.execute("CREATE TABLE kept_history AS SELECT id, winner_id, at, state, why FROM winner_history")
    op.drop_table("winner_history")
    for index in ("ix_winners_task_id", "ix_winners_state", "uq_winners_promoted"):
        op.drop_index(index, "winners")
    op.rename_table("winners", "kept_winners")
    columns: list[Any] = [
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.String(8), nullable=True),
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("config_key", sa.String(16), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
    ]
    names = ", ".join(column.name for column in columns)
    op.create_table(
        "winners",
        *columns,
        sa.PrimaryKeyConstraint("id", name="pk_winners"),
        sa.ForeignKeyConstraint(
            ["campaign_id", "task_id"],
            ["campaign_tasks.campaign_id", "campaign_tasks.task_id"],
            name="fk_winners_campaign_id_task_id_campaign_tasks",
        ),
        sa.ForeignKeyConstraint(["environment_id"], ["environments.id"], name="fk_winners_environment_id_environments"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_winners_task_id_tasks"),
    )
    op.execute(f"INSERT INTO winners ({names}) SELECT {names} FROM kept_winners")  # noqa: S608
    op.drop_table("kept_winners")
    op.create_index("ix_winners_task_id", "winners", ["task_id"])
    op.create_index("ix_winners_state", "winners", ["state"])
    op.create_index("uq_winners_promoted", "winners", ["task_id"], unique=True, sqlite_where=_PROMOTED)
    op.create_table(
        "winner_history",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("winner_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_winner_history"),
        sa.ForeignKeyConstraint(["winner_id"], ["winners.id"], name="fk_winner_history_winner_id_winners"),
    )
    history = "id, winner_id, at, state, why"
    op.execute(f"INSERT INTO winner_history ({history}) SELECT {history} FROM kept_history")  # noqa: S608
    op.drop_table("kept_history")
    op.create_index("ix_winner_history_winner_id", "winner_history", ["winner_id"])
