"""The peaks of devices, measured once for the roofline."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["downgrade", "upgrade"]

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no device has peaks yet."""
    op.add_column("devices", sa.Column("peaks", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Drop the column and what was measured."""
    op.drop_column("devices", "peaks")
