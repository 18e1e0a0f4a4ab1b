"""`tuner serve`: the read API over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.options import StoreUrl
from tuner.cli.session import store_url
from tuner.db.sql import default_store_url
from tuner.lookup import Lookup
from tuner.service.server import records_of, serve

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve_api)


def serve_api(
    snapshot: Annotated[
        Path | None, typer.Option(help="A file of `tuner snapshot` to answer from instead of the store.")
    ] = None,
    store: StoreUrl = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes one that is free.")] = 8400,
    device: Annotated[
        str | None, typer.Option("--device", help="The device that asks; by default, that of the winners.")
    ] = None,
    kernel: Annotated[
        list[str] | None,
        typer.Option(help="A kernel whose defaults and constraints to load; repeatable. Of a store: all by default."),
    ] = None,
    refresh: Annotated[float, typer.Option(help="Seconds between looks for new winners.")] = 30.0,
    last: Annotated[
        Path | None, typer.Option(help="Keep the winners in this snapshot, and answer from it while the store is down.")
    ] = None,
) -> None:
    """Answer over HTTP which config to use, and list winners and misses; misses are counted in the store."""
    where = snapshot or store_url(store) or default_store_url()
    lookup = Lookup.open(
        where,
        device=device,
        kernels=kernel,
        last=last,
        misses=None if snapshot else where,
        refresh_seconds=refresh,
    )
    serve(lookup, records_of(where, lookup), host, port, ready=_say)


def _say(address: str) -> None:
    print(f"answering at {address}; its documentation: {address}/docs", flush=True)
