"""Locks: which winners a deployment runs on, so that its processes can refuse to start with different ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import SnapshotError
from tuner.lookup.snapshot import Snapshot, write_atomically
from tuner.types import canonical_json

__all__ = ["Lock"]

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Lock:
    """The digest of the winners that are to be served.

    Attributes:
        digest: That of `Snapshot.digest`, and of `Lookup.digest`.
        winners: How many there are.

    Example:
        >>> from tuner.lookup.snapshot import snapshot_of
        >>> Lock.of(snapshot_of([])).winners
        0
    """

    digest: str
    winners: int

    @classmethod
    def of(cls, snapshot: Snapshot) -> Lock:
        """Return the lock on a snapshot."""
        return cls(snapshot.digest, len(snapshot))

    @classmethod
    def read(cls, path: str | Path) -> Lock:
        """Return the lock in a file.

        Raises:
            SnapshotError: there is no such file, or it is not a lock.
        """
        try:
            data = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise SnapshotError(f"lock {path}: cannot be read, {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise SnapshotError(
                f"lock {path}: is not whole, or not JSON: {error}; write it with `tuner lock`"
            ) from error
        if not isinstance(data, dict) or data.get("schema") != _SCHEMA:
            raise SnapshotError(f"lock {path}: is not of schema {_SCHEMA}; write it with `tuner lock`")
        digest, winners = data.get("digest"), data.get("winners")
        if not isinstance(digest, str) or len(digest) != 64 or type(winners) is not int:
            raise SnapshotError(f"lock {path}: has no digest, or no number of winners; write it with `tuner lock`")
        return cls(digest, winners)

    def write(self, path: str | Path) -> None:
        """Write the lock to a file, whole or not at all.

        Raises:
            SnapshotError: it cannot be written there.
        """
        data = {"schema": _SCHEMA, "digest": self.digest, "winners": self.winners}
        write_atomically(path, canonical_json(data) + "\n")

    def require(self, snapshot: Snapshot, name: str) -> None:
        """Do nothing where `snapshot` is the one that is locked.

        Raises:
            SnapshotError: it is another one; the message says what is expected.
        """
        if snapshot.digest != self.digest:
            raise SnapshotError(
                f"{name} has {len(snapshot)} winners of digest {snapshot.digest[:16]}, and the lock is on "
                f"{self.winners} of digest {self.digest[:16]}; serve what was locked, or lock it anew with `tuner lock`"
            )
