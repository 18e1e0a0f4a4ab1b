"""`tuner store`: care of the database."""

from __future__ import annotations

import typer

from tuner.cli.options import StoreUrl
from tuner.cli.session import store_url
from tuner.db.sql import default_store_url, upgrade_store

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Care of the store.", no_args_is_help=True)
    group.command()(upgrade)
    app.add_typer(group, name="store")


def upgrade(store: StoreUrl = None) -> None:
    """Bring a store that an older tuner wrote to this one's schema; nothing is lost."""
    url = store_url(store) or default_store_url()
    upgrade_store(url)
    print("the store has the current schema")
