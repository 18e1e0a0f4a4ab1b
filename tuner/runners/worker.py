"""The worker process: builds or measures one request after another, until its parent closes the connection or dies.

Run as `python -m tuner.runners.worker DESCRIPTOR CACHE PARENT [CORES]`; requests and replies are JSON. It may crash or
hang: its parent notices, kills its whole process group, and starts another.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tuner.errors import BuildError, PoisonedDeviceError, TunableError
from tuner.runners.cache import ArtifactCache
from tuner.tunable import Prunable, Tunable, load
from tuner.types import Artifact, Build, Config, Measurement, Sampling, Status, Task

__all__ = ["main"]

_PARENT_CHECK_SECONDS = 1.0


def main(arguments: list[str]) -> None:
    """Serve requests from the connection that the parent passed on."""
    descriptor, cache, parent = int(arguments[0]), ArtifactCache(Path(arguments[1])), int(arguments[2])
    if len(arguments) > 3 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in arguments[3].split(",")})
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    connection = Connection(descriptor)
    connection.send_bytes(b'{"ready": true}')
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            return
        connection.send_bytes(json.dumps(_answer(request, cache)).encode())


def _die_with(parent: int) -> None:
    """End this process and what it started when the parent is gone, even in the middle of a hung kernel."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _answer(request: Mapping[str, Any], cache: ArtifactCache) -> dict[str, Any]:
    task = Task.from_json(request["task"])
    try:
        tunable = _load(task)
    except TunableError as error:
        return {"broken": str(error)}
    do = _build if request["do"] == "build" else _measure
    return do(tunable, task, request, cache)


def _load(task: Task) -> Tunable:
    tunable = load(task.tunable)
    if tunable.version != task.version:
        raise TunableError(f"{task.tunable} has changed since the campaign started; start the campaign again")
    return tunable


def _build(tunable: Tunable, task: Task, request: Mapping[str, Any], cache: ArtifactCache) -> dict[str, Any]:
    config = Config(request["config"])
    try:
        if reason := tunable.search_space(task.workload, task.device).violated(config):
            return _failure(Status.CONSTRAINTS, reason)
        key = tunable.build_key(config, task.workload, task.device)
        if key is None:
            return {"key": None}
        cached = cache.get(key)
        artifact = cached or tunable.build(config, task.workload, task.device)
        assert artifact is not None, "what has a key has an artifact"
        if cached is None:
            cache.put(artifact)
        if isinstance(tunable, Prunable) and (reason := tunable.refusal(artifact, task.device)):
            return _failure(Status.CONSTRAINTS, reason)
    except BuildError as error:
        return _failure(Status.COMPILE, str(error))
    except OSError as error:
        return _failure(Status.COMPILE, f"cannot keep the artifact in {cache.folder}: {error}")
    except Exception as error:
        return _failure(Status.COMPILE, f"{type(error).__name__}: {error}")
    return {"key": key}


def _measure(tunable: Tunable, task: Task, request: Mapping[str, Any], cache: ArtifactCache) -> dict[str, Any]:
    try:
        builds = [
            Build(Config(config), _artifact(key, cache))
            for config, key in zip(request["configs"], request["keys"], strict=True)
        ]
        sampling = Sampling(**request["sampling"])
        return {"measurements": [m.to_json() for m in tunable.measure(builds, task.workload, sampling)]}
    except PoisonedDeviceError as error:
        # The parent replaces this process: its device will not do anything any more.
        return {**_failure(Status.RUNTIME, f"{type(error).__name__}: {error}"), "poisoned": True}
    except Exception as error:
        return _failure(Status.RUNTIME, f"{type(error).__name__}: {error}")


def _artifact(key: str | None, cache: ArtifactCache) -> Artifact | None:
    if key is None:
        return None
    artifact = cache.get(key)
    if artifact is None:
        raise FileNotFoundError(f"artifact {key} is gone from {cache.folder}")
    return artifact


def _failure(status: Status, error: str) -> dict[str, Any]:
    return {"failure": Measurement(status, error=error).to_json()}


if __name__ == "__main__":
    main(sys.argv[1:])
