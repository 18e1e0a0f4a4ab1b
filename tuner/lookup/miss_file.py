"""Files of misses, one JSON object a line: several servers append, and who adds them to a store takes them whole."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tuner.errors import SnapshotError, TunerError
from tuner.types import Miss, canonical_json

try:
    import fcntl
except ImportError:  # not on Windows: there, add misses while no server writes them
    fcntl = None  # type: ignore[assignment]

__all__ = ["JsonLinesSink", "by_count", "read_misses", "take_misses", "unfinished"]

_ADDING, _ADDED = ".adding", ".added"


class JsonLinesSink:
    """Appends misses to a file, one JSON object a line, with nothing but the standard library.

    Several processes may share a file, which is locked meanwhile; `tuner misses --add` takes it away between two calls.
    `read_misses` adds the lines up.

    Args:
        path: The file; made if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def add(self, misses: Sequence[Miss]) -> None:
        """Append misses: all of them, or none.

        Raises:
            SnapshotError: the file cannot be written.
        """
        text = "".join(f"{canonical_json(miss.to_json())}\n" for miss in misses)
        try:
            with _appending(self._path) as handle:
                _append(handle, text.encode())
        except OSError as error:
            raise SnapshotError(f"{self._path}: misses cannot be written, {error.strerror or error}") from error


def read_misses(path: str | Path) -> list[Miss]:
    """Return the misses in a file that `JsonLinesSink` wrote, added up by kernel, workload and device.

    Raises:
        SnapshotError: it cannot be read, or a line is no miss; the message names file and line.
    """
    try:
        with open(path, encoding="utf-8") as lines:
            return _added_up(lines, path)
    except (OSError, UnicodeDecodeError) as error:
        raise SnapshotError(f"{path}: cannot be read, {error}") from error


def take_misses(path: Path, keep: Callable[[Sequence[Miss]], object]) -> tuple[Sequence[Miss], Path]:
    """Hand the misses of a file to `keep` once, while servers go on in another file, and return them and where it is.

    The file is moved aside first; what a server is writing then is waited for, and who opened it before, and has not
    written, opens the other one. Where `keep` refuses, the file is put back, or stays aside, as the message says.

    Raises:
        TunerError: there is no such file, a line is no miss, or what `keep` raised.
    """
    aside = path.with_name(f"{path.name}.{time.time_ns()}{_ADDING}")
    try:
        path.rename(aside)
        file = aside.open(encoding="utf-8")
    except OSError as error:
        raise TunerError(f"{path}: misses cannot be taken from there, {error.strerror or error}") from error
    with file:
        _lock(file.fileno())
        try:
            found = _added_up(file, path)
            keep(found)
        except (TunerError, UnicodeDecodeError) as error:
            where = _put_back(aside, path)
            raise TunerError(f"{error}; the misses are in {where}") from error
        done = aside.with_suffix(_ADDED)
        aside.rename(done)
    return found, done


def unfinished(path: Path) -> list[Path]:
    """Return files that were taken from `path` by who did not get to the end: whether they were added is not known."""
    return [one for one in sorted(path.parent.glob(f"{path.name}.*{_ADDING}")) if not _is_locked(one)]


def _added_up(lines: Iterable[str], path: str | Path) -> list[Miss]:
    found: dict[str, Miss] = {}
    for number, line in enumerate(lines, 1):
        try:
            miss = Miss.from_json(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, TunerError) as error:
            raise SnapshotError(f"{path}, line {number}: is no miss ({error!r})") from error
        known = found.get(miss.key)
        found[miss.key] = miss if known is None else replace(miss, count=known.count + miss.count)
    return sorted(found.values(), key=by_count)


def by_count(miss: Miss) -> tuple[int, str, str]:
    """Return what to sort misses by: the most asked for first."""
    return -miss.count, miss.kernel, miss.workload.json


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[int]:
    """Give the file at `path` to append to, locked."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            _lock(handle)
            # Moved aside before it was locked: its misses may have been added already.
            if _is_at(handle, path):
                yield handle
                return
        finally:
            os.close(handle)


def _append(handle: int, data: bytes) -> None:
    end = os.fstat(handle).st_size
    try:
        while data:
            data = data[os.write(handle, data) :]
    except OSError:
        # A full disk takes a part; the whole is handed on again later.
        os.ftruncate(handle, end)
        raise


def _is_at(handle: int, path: Path) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    own = os.fstat(handle)
    return (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino)


def _put_back(aside: Path, path: Path) -> Path:
    """Return where the file is after giving it its name again, unless servers have begun another one."""
    try:
        os.link(aside, path)  # which, unlike renaming, replaces nothing
    except OSError:
        return aside
    aside.unlink()
    return path


def _lock(handle: int) -> None:
    """Wait for the lock of a file, which closing it gives back; do without where the file system has none."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)


def _is_locked(path: Path) -> bool:
    if fcntl is None:
        return False
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
