"""Serves the read API until it is told to stop."""

from __future__ import annotations

import contextlib
import importlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuner.errors import MissingDependencyError, TunerError
from tuner.lookup import Lookup
from tuner.lookup.origin import is_snapshot
from tuner.reference import import_reference
from tuner.service.record import Records, SnapshotRecords, StoreRecords

__all__ = ["records_of", "serve"]

# By reference: FastAPI takes a while to load, and is an extra.
_APP = "tuner.service.app:create_app"
_BACKLOG = 1024
_NEEDED = ("fastapi", "prometheus_client", "uvicorn")


def records_of(where: str | Path, lookup: Lookup) -> Records:
    """Return what lists winners and misses: the store at `where`, or, of a snapshot, the lookup itself."""
    return SnapshotRecords(lookup) if is_snapshot(where) else StoreRecords(where)


def serve(lookup: Lookup, records: Records, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Answer requests until Ctrl-C or SIGTERM; both are closed at the end.

    Args:
        lookup: What answers.
        records: What lists.
        host: The address to listen on.
        port: The port; 0 for one that is free.
        ready: Called once with the address to call.

    Raises:
        MissingDependencyError: the extra `service` is not installed.
        TunerError: the port is taken, or the address is not this machine's.
    """
    uvicorn = _required()
    create_app: Any = import_reference(_APP)
    with contextlib.closing(_bound(host, port)) as listening, contextlib.closing(records), lookup:
        server = uvicorn.Server(uvicorn.Config(create_app(lookup, records), log_level="warning", lifespan="off"))
        bound = listening.getsockname()[1]
        ready(f"http://{f'[{host}]' if ':' in host else host}:{bound}")
        # It takes Ctrl-C as the wish to end, and raises it again once it has.
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def _required() -> Any:
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"tuner serve needs the package {error.name!r}; pip install 'rltuner[service]'"
            ) from error
    return importlib.import_module("uvicorn")


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TunerError(f"cannot listen on {host}:{port}: {reason}; choose another with --host and --port") from error
    return listening
