"""Workloads of servers: the fields that say which model is served, and to which traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.engines.traffic import Profile, Traffic, read_traffic
from tuner.errors import WorkloadError
from tuner.types import Scalar, Workload, digest

__all__ = ["TRAFFIC_FILE", "profiles_of", "served_workload"]

TRAFFIC_FILE = "traffic"
"""The field that names a file of traffic; beside it, `traffic_digest` says what was in it."""

_DIGEST = "traffic_digest"


def served_workload(fields: Mapping[str, Scalar], own: Mapping[str, Scalar], engine: str) -> Workload:
    """Return the checked workload of a server.

    Fields of traffic stand beside the engine's own, or `traffic` names a file that holds them, with one profile or with
    several. What has its default does not enter, so that a field that is added later changes no key.

    Args:
        fields: As given.
        own: The engine's own fields with their defaults.
        engine: Its name, for messages.

    Raises:
        WorkloadError: a field is unknown, or has a value that it does not take.
    """
    values: dict[str, Scalar] = {}
    traffic: dict[str, Any] = {}
    for name, value in fields.items():
        if name in own:
            if type(value) is not type(own[name]):
                raise WorkloadError(f"{name}={value!r} of {engine} is not a {type(own[name]).__name__}")
            if value != own[name]:
                values[name] = value
        elif name not in (TRAFFIC_FILE, _DIGEST):
            traffic[name] = value
    known = Traffic().to_fields(whole=True)
    if unknown := [name for name in traffic if name not in known]:
        raise WorkloadError(
            f"{engine} has no field {unknown[0]!r}; it has: {', '.join([*own, TRAFFIC_FILE])}; of traffic: "
            f"{', '.join(known)}"
        )
    if path := fields.get(TRAFFIC_FILE):
        if traffic:
            raise WorkloadError(f"{next(iter(traffic))} stands in the traffic's file or beside the model, not in both")
        resolved = Path(str(path)).resolve()
        found = _traffic_digest(resolved)
        if fields.get(_DIGEST, found) != found:
            raise WorkloadError(f"{resolved} has changed since: its digest is {found}, not {fields[_DIGEST]}")
        return Workload({**values, TRAFFIC_FILE: str(resolved), _DIGEST: found})
    return Workload({**values, **Traffic.from_fields(traffic).to_fields()})


def profiles_of(workload: Workload) -> Sequence[Profile]:
    """Return the traffic of a checked workload.

    Raises:
        WorkloadError: its file has changed since, or is gone.
    """
    if path := workload.get(TRAFFIC_FILE):
        if _traffic_digest(Path(str(path))) != workload[_DIGEST]:
            raise WorkloadError(f"{path} has changed since the campaign started; start it again")
        return read_traffic(Path(str(path)))
    known = Traffic().to_fields(whole=True)
    return [Profile("traffic", Traffic.from_fields({name: workload[name] for name in workload if name in known}))]


def _traffic_digest(path: Path) -> str:
    """Return what identifies the traffic in a file, with the traces that it replays."""
    return digest([[one.name, one.share, one.traffic.to_fields()] for one in read_traffic(path)])
