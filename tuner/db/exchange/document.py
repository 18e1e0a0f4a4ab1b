"""Files of other programs, as data: read with errors that name the file and the field, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.errors import ExchangeError
from tuner.file import replacing

__all__ = ["LARGEST_BYTES", "Document", "file_digest", "read_document", "write_documents"]

LARGEST_BYTES = 256 << 20
"""A file of more than this is refused before it is read."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content, with what an error or an origin has to say of it.

    Attributes:
        path: Where it was.
        text: What it holds.
        digest: SHA-256 of its bytes, in hexadecimal digits.

    Example:
        >>> document = Document(Path("x.json"), '{"a": [1]}', "")
        >>> document.json()
        {'a': [1]}
        >>> document.error("field 'a'", "is a list")
        ExchangeError("x.json: field 'a' is a list")
    """

    path: Path
    text: str
    digest: str

    def error(self, field: str, what: str) -> ExchangeError:
        """Return the error that names this file, a field of it, and what is wrong with it."""
        return ExchangeError(f"{self.path}: {field} {what}")

    def json(self, *, infinity: bool = False) -> Any:
        """Return the JSON value that it holds; a name that an object has twice is an error.

        Args:
            infinity: Whether Python's `Infinity` and `NaN` are taken, which are no JSON.

        Raises:
            ExchangeError: it is not JSON.
        """
        try:
            return json.loads(self.text, object_pairs_hook=_once, parse_constant=float if infinity else _refused)
        except (ValueError, RecursionError) as error:
            raise ExchangeError(f"{self.path} is not JSON: {str(error) or type(error).__name__}") from error

    def json_object(self, *, infinity: bool = False) -> dict[str, Any]:
        """Return the JSON object that it holds.

        Raises:
            ExchangeError: it is not JSON, or another kind of value.
        """
        data = self.json(infinity=infinity)
        if not isinstance(data, dict):
            raise ExchangeError(f"{self.path} holds a JSON {type(data).__name__}, not an object")
        return data

    def positive(self, field: str, value: object) -> float:
        """Return `value` as a finite number above zero.

        Raises:
            ExchangeError: it is none; the message names `field`.
        """
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise self.error(field, f"is {value!r}, and needs a finite number above 0")
        return float(value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has {twice!r} twice")
    return data


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def read_document(path: Path) -> Document:
    """Return the text file at `path`.

    Raises:
        ExchangeError: it cannot be read, is larger than `LARGEST_BYTES`, or is not UTF-8.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise ExchangeError(f"{path} has {size} bytes; {LARGEST_BYTES} are the most that are read")
        raw = path.read_bytes()
        text = raw.decode()
    except OSError as error:
        raise ExchangeError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ExchangeError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    return Document(path, text, hashlib.sha256(raw).hexdigest())


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits.

    Raises:
        ExchangeError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ExchangeError(f"cannot read {path}: {error.strerror}") from error


def write_documents(texts: Mapping[Path, str]) -> tuple[Path, ...]:
    """Write each text to its path, and return the paths; folders are made.

    All texts are on the disk before the first takes its place, so that a full disk leaves what was there.

    Raises:
        ExchangeError: a file cannot be written.
    """
    try:
        with contextlib.ExitStack() as stack:
            for path, text in texts.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(replacing(path))
                file.write(text.encode())
                file.flush()
    except OSError as error:
        raise ExchangeError(f"cannot write {error.filename2 or error.filename}: {error.strerror}") from error
    return tuple(texts)
