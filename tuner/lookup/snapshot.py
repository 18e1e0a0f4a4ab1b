"""Snapshots: winners in one JSON file that serving code reads with nothing but the standard library.

The text is canonical JSON: `{"content":...,"digest":...,"made":...,"schema":1}`. The digest is the SHA-256 of the
content's text, so that it is checked on the bytes as they were read, without writing them again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuner.errors import SnapshotError, TunerError
from tuner.file import replacing
from tuner.lookup.choice import Proof
from tuner.lookup.group import Group, grouped
from tuner.types import Device, canonical_json

__all__ = ["SCHEMA", "Made", "Snapshot", "read_snapshot", "snapshot_of", "write_atomically", "write_snapshot"]

SCHEMA = 1
"""The version of the file's layout; another one is refused."""

MOST_BYTES = 1 << 30
"""A larger file is refused before it is read: a million winners take a tenth of it."""

_HEAD, _MIDDLE = b'{"content":', b',"digest":"'


@dataclass(frozen=True, slots=True)
class Made:
    """When and where a snapshot was made; it does not enter the digest.

    Attributes:
        at: UTC, ISO 8601.
        environment: What was installed there.
        environment_fingerprint: Identifies `environment`, as `Device.environment_fingerprint` does.
    """

    at: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    environment_fingerprint: str = ""

    @classmethod
    def now(cls, device: Device | None = None) -> Made:
        """Return what is true now, on a device of this machine."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(at, dict(device.environment), device.environment_fingerprint) if device else cls(at)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Winners as a lookup reads them, from a file or from a store.

    Attributes:
        groups: The winners.
        digest: SHA-256 of their canonical text: equal exactly where the winners are.
        made: When and where it was made.
    """

    groups: tuple[Group, ...]
    digest: str
    made: Made = field(default_factory=Made, compare=False)

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    @property
    def kernels(self) -> list[str]:
        """The kernels that have a winner in it, sorted."""
        return sorted({group.kernel for group in self.groups})


def snapshot_of(proofs: Iterable[Proof], made: Made = Made()) -> Snapshot:
    """Return the snapshot of some winners; their order does not matter.

    Example:
        >>> snapshot = snapshot_of([])
        >>> len(snapshot), snapshot.digest[:8]
        (0, '48c22683')
    """
    groups = tuple(grouped(proofs))
    return Snapshot(groups, _digest(_content(groups)), made)


def write_snapshot(path: str | Path, snapshot: Snapshot) -> None:
    """Write `snapshot` so that a reader finds the old file or the new one, whole, and never a part.

    Raises:
        SnapshotError: it cannot be written there.
    """
    content = _content(snapshot.groups)
    made = canonical_json(
        {
            "at": snapshot.made.at,
            "environment": snapshot.made.environment,
            "environment_fingerprint": snapshot.made.environment_fingerprint,
        }
    )
    write_atomically(
        path, f'{_HEAD.decode()}{content}{_MIDDLE.decode()}{_digest(content)}","made":{made},"schema":{SCHEMA}}}\n'
    )


def read_snapshot(path: str | Path) -> Snapshot:
    """Return the snapshot in a file.

    Raises:
        SnapshotError: there is no such file, or it is not whole, not a snapshot, of another schema, or was changed; the
            message names the file and the reason.
    """
    try:
        size = os.stat(path).st_size
        if size > MOST_BYTES:
            raise SnapshotError(f"snapshot {path}: {size} bytes are more than the {MOST_BYTES} that are read")
        text = Path(path).read_bytes()
    except OSError as error:
        raise SnapshotError(f"snapshot {path}: cannot be read, {error.strerror or error}") from error
    try:
        return _parsed(text)
    except TunerError as error:
        raise SnapshotError(f"snapshot {path}: {error}; write it anew with `tuner snapshot`") from error


def write_atomically(path: str | Path, text: str) -> None:
    """Write a text file by way of a temporary one beside it, whose name it then takes.

    Raises:
        SnapshotError: the folder is not there or not writable.
    """
    try:
        with replacing(Path(path), durable=True) as file:
            file.write(text.encode())
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be written, {error.strerror or error}") from error


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _content(groups: Sequence[Group]) -> str:
    """Return the canonical text of groups, in which devices and environments stand once."""
    devices: dict[str, int] = {}
    environments: dict[str, int] = {}
    written = []
    for group in groups:
        data = group.device.to_json()
        environment = environments.setdefault(canonical_json(data.pop("environment")), len(environments))
        device = devices.setdefault(canonical_json(data), len(devices))
        written.append(canonical_json(group.to_json(device, environment)))
    parts = {"devices": devices, "environments": environments, "groups": written}
    texts = [f"{canonical_json(name)}:[{','.join(values)}]" for name, values in parts.items()]
    return f"{{{','.join(texts)}}}"


def _parsed(text: bytes) -> Snapshot:
    data = _loaded(text)
    if not isinstance(data, dict):
        raise TunerError("is not a JSON object")
    if data.get("schema") != SCHEMA or isinstance(data["schema"], bool):
        raise TunerError(f"has schema {data.get('schema')!r}, and this tuner reads schema {SCHEMA}")
    if set(data) != {"content", "digest", "made", "schema"}:
        raise TunerError(f"has the keys {', '.join(sorted(data))}; content, digest, made and schema are expected")
    _check_digest(text, data)
    content = data["content"]
    if not isinstance(content, dict) or set(content) != {"devices", "environments", "groups"}:
        raise TunerError("its content is not devices, environments and groups")
    for name, values in content.items():
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise TunerError(f"its {name} are not a list of objects")
    groups = tuple(Group.from_json(group, content["devices"], content["environments"]) for group in content["groups"])
    return Snapshot(groups, data["digest"], _made(data["made"]))


def _loaded(text: bytes) -> Any:
    try:
        return json.loads(text.decode(), object_pairs_hook=_without_duplicates, parse_constant=_refused)
    except json.JSONDecodeError as error:
        raise TunerError(f"is not whole, or not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise TunerError(f"is not UTF-8 text: {error}") from error
    except RecursionError:
        raise TunerError("is nested too deeply") from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise TunerError(f"holds a number that is too long ({error})") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise TunerError(f"has the key {next(name for name in names if names.count(name) > 1)!r} twice in one object")
    return found


def _refused(name: str) -> Any:
    raise TunerError(f"holds {name}, which is no number of JSON")


def _check_digest(text: bytes, data: dict[str, Any]) -> None:
    told = data["digest"]
    end = text.rfind(_MIDDLE)
    # As it was written. Whoever formats the file anew still has the same content, which is then written again here.
    if text.startswith(_HEAD) and end > 0:
        with memoryview(text) as view:
            if hashlib.sha256(view[len(_HEAD) : end]).hexdigest() == told:
                return
    try:
        found = _digest(canonical_json(data["content"]))
    except (ValueError, RecursionError) as error:
        raise TunerError(f"its content is not plain: {error}") from error
    if found != told:
        raise TunerError(
            f"its digest is {str(told)[:64]!r}, and its content has {found}: it was changed or is not whole"
        )


def _made(data: Any) -> Made:
    if not isinstance(data, dict) or set(data) != {"at", "environment", "environment_fingerprint"}:
        raise TunerError("does not say when and where it was made")
    environment = data["environment"]
    if not isinstance(environment, dict) or not all(isinstance(value, str) for value in environment.values()):
        raise TunerError("the environment in which it was made does not hold texts only")
    return Made(str(data["at"]), environment, str(data["environment_fingerprint"]))
