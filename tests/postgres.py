"""A PostgreSQL server for tests, started and stopped by them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import URL

from tuner.db.engine import connect, locate

__all__ = ["PostgresServer", "programs"]


class PostgresServer:
    """A PostgreSQL server of its own, on a socket in a folder of its own."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._programs = programs
        # PostgreSQL refuses to run as root.
        self._user: dict[str, Any] = {"user": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self._user:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    def start(self) -> None:
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-l", str(self._folder / "log"), "-o", options)

    def new_database(self) -> str:
        """Return the URL of a new, empty place for tables: a schema, which takes less than a database."""
        name = f"schema_{uuid4().hex[:8]}"
        engine = connect(locate(self._url()), timeout_seconds=10)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        engine.dispose()
        return self._url(options=f"-csearch_path={name}")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-m", "immediate")

    def _url(self, **query: str) -> str:
        url = URL.create("postgresql", "postgres", database="postgres", query={"host": str(self._folder), **query})
        return url.render_as_string(hide_password=False)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._folder / "data"), *arguments]
        with (self._folder / f"{program}.out").open("w") as output:
            subprocess.run(
                command, check=True, stdout=output, stderr=subprocess.STDOUT, cwd=self._folder, timeout=60, **self._user
            )


def programs() -> Path | None:
    """Return the folder of an installed server's programs, None where there is none."""
    on_path = shutil.which("initdb")
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *([Path(on_path)] if on_path else [])]
    return sorted(found)[-1].parent if found else None
