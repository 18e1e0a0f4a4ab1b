"""JSON as stores keep it, exact for every scalar (`inf` and `nan` too), and the clock of their records."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tuner.errors import StoreError

__all__ = ["dumps", "loads", "moment", "now", "same"]

_TAG = "$float"


def dumps(value: object) -> str:
    """Return `value` as ASCII JSON: order kept, `1`, `1.0` and `true` distinct, `inf` and `nan` as `{"$float": "inf"}`.

    ASCII, because PostgreSQL takes any escape in its `json` type, but refuses some characters.

    Raises:
        StoreError: `value` holds something that is not JSON data.
    """
    try:
        try:
            text = _encoded(value)
        except ValueError:
            return _encoded(_tagged(value))
        return _encoded(_tagged(value)) if _TAG in text else text
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"cannot store {value!r}: {error}; use mappings, lists, strings, numbers, booleans and None"
        ) from error


def loads(text: str | bytes) -> Any:
    """Return what `dumps` wrote, tuples as lists."""
    plain = text if isinstance(text, str) else text.decode()
    return json.loads(plain, object_hook=_untagged if _TAG in plain else None)


def same(one: object, other: object) -> bool:
    """Return whether two values are the same JSON data; the order of names does not count."""
    return _encoded(_tagged(one), sort=True) == _encoded(_tagged(other), sort=True)


def now() -> str:
    """Return the time in UTC, ISO 8601, of one length, so that text order is time order."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def moment(text: str) -> str:
    """Return a time in ISO 8601 as `now` writes it; without an offset it is in UTC.

    Raises:
        StoreError: it is not ISO 8601.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise StoreError(f"{text!r} is not a time; write ISO 8601, such as 2026-01-31T12:00:00+00:00") from None
    return (at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)).isoformat(timespec="microseconds")


def _encoded(value: object, *, sort: bool = False) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_plain, sort_keys=sort)


def _plain(value: object) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _tagged(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return {_TAG: str(float(value))}
    if isinstance(value, Mapping) and value.keys() == {_TAG}:
        return {_TAG: [_tagged(value[_TAG])]}  # data that looks like a tag
    if isinstance(value, Mapping):
        return {name: _tagged(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_tagged(inner) for inner in value]
    return value


def _untagged(data: dict[str, Any]) -> Any:
    if data.keys() != {_TAG}:
        return data
    inner = data[_TAG]
    return {_TAG: inner[0]} if isinstance(inner, list) else float(inner)
