"""The first tables: devices, environments, tasks, campaigns, trials, winners."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["downgrade", "upgrade"]

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "devices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
        sa.UniqueConstraint("fingerprint", name="uq_devices_fingerprint"),
    )
    op.create_table(
        "environments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_environments"),
        sa.UniqueConstraint("key", name="uq_environments_key"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("tunable", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("workload", sa.JSON(), nullable=False),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        sa.UniqueConstraint("key", name="uq_tasks_key"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_tasks_device_id_devices"),
    )
    op.create_index("ix_tasks_tunable", "tasks", ["tunable"])
    op.create_table(
        "campaigns",
        sa.Column("id", sa.String(8), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("wall_seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_campaigns"),
    )
    op.create_table(
        "campaign_tasks",
        sa.Column("campaign_id", sa.String(8), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("campaign_id", "task_id", name="pk_campaign_tasks"),
        sa.UniqueConstraint("campaign_id", "position", name="uq_campaign_tasks_campaign_id_position"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name="fk_campaign_tasks_campaign_id_campaigns"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_campaign_tasks_task_id_tasks"),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.id"], name="fk_campaign_tasks_environment_id_environments"
        ),
    )
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.String(8), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("config_key", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("samples", sa.JSON(), nullable=False),
        sa.Column("build_seconds", sa.Double(), nullable=False),
        sa.Column("measure_seconds", sa.Double(), nullable=False),
        sa.Column("resources", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trials"),
        sa.UniqueConstraint("campaign_id", "task_id", "number", name="uq_trials_campaign_id_task_id_number"),
        sa.ForeignKeyConstraint(
            ["campaign_id", "task_id"],
            ["campaign_tasks.campaign_id", "campaign_tasks.task_id"],
            name="fk_trials_campaign_id_task_id_campaign_tasks",
        ),
    )
    op.create_table(
        "winners",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.String(8), nullable=False),
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("config_key", sa.String(16), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_winners"),
        sa.ForeignKeyConstraint(
            ["campaign_id", "task_id"],
            ["campaign_tasks.campaign_id", "campaign_tasks.task_id"],
            name="fk_winners_campaign_id_task_id_campaign_tasks",
        ),
        sa.ForeignKeyConstraint(["environment_id"], ["environments.id"], name="fk_winners_environment_id_environments"),
    )
    op.create_index("ix_winners_task_id", "winners", ["task_id"])
    op.create_index("ix_winners_state", "winners", ["state"])
    op.create_index(
        "uq_winners_promoted",
        "winners",
        ["task_id"],
        unique=True,
        sqlite_where=sa.text("state = 'promoted'"),
        postgresql_where=sa.text("state = 'promoted'"),
    )
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
    op.create_index("ix_winner_history_winner_id", "winner_history", ["winner_id"])


def downgrade() -> None:
    """Refuse: it would delete everything."""
    raise NotImplementedError("there is nothing before the first version; delete the store instead")
