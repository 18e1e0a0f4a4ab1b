"""What Alembic runs to migrate: on the connection, and in the transaction, of `tuner.db.schema.migrate`."""

from __future__ import annotations

from alembic import context

from tuner.db.rows import Base

__all__ = ["run"]


def run() -> None:
    """Run the migrations that Alembic has chosen."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
    )
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":  # the name under which Alembic loads this file; whoever else imports it migrates nothing
    run()
