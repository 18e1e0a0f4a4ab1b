"""Builders and device workers as Ray actors, on this machine or on a cluster. The only module that imports Ray here."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuner.devices import available_cores
from tuner.errors import TunerError
from tuner.runners.cache import ArtifactCache, default_cache_folder
from tuner.runners.futures import then
from tuner.runners.local import default_builders
from tuner.runners.pipeline import Pipeline
from tuner.runners.station import Builder, Built, DeviceWorker, Timeouts
from tuner.types import Artifact, Config, Measurement, Sampling, Task

__all__ = ["RayRunner"]

_START_SECONDS = 120.0
_CONNECT_SECONDS = 5.0
# An actor only lends its node to a worker process; where one dies, another takes over.
_RESTARTS = 3


class _BuilderActor:
    """A builder on some node. What enters and leaves is JSON and bytes."""

    def __init__(self, cache: str, build_seconds: float, cores: Sequence[int], number: int) -> None:
        self._cache = ArtifactCache(Path(cache))
        self._builder = Builder(Path(cache), Timeouts(build_seconds=build_seconds), cores, number=number)

    def ready(self) -> bool:
        """Return once the actor has been placed and started."""
        return True

    def build(self, task: str, config: str) -> tuple[str, tuple[str, bytes] | None]:
        """Return how the build went, and the artifact's metadata and payload where there is one."""
        built = self._builder.build(Task.from_json(json.loads(task)), Config(json.loads(config)))
        artifact = self._cache.get(built.key) if built.key else None
        parcel = (json.dumps(dict(artifact.metadata)), artifact.payload) if artifact else None
        return json.dumps(built.to_json()), parcel


class _DeviceActor:
    """A device worker on the node of its device, which no other trial uses."""

    def __init__(self, cache: str, measure_seconds: float, cores: Sequence[int]) -> None:
        self._cache = ArtifactCache(Path(cache))
        self._worker = DeviceWorker(Path(cache), Timeouts(measure_seconds=measure_seconds), cores)

    def ready(self) -> bool:
        """Return once the actor has been placed and started."""
        return True

    def measure(self, task: str, configs: str, built: str, parcels: Sequence[Any], sampling: str, fresh: bool) -> str:
        """Return the measurements.

        Args:
            task: The task.
            configs: The configs.
            built: Their builds.
            parcels: References to the artifacts, which come straight from the builders' nodes.
            sampling: Seed and rounds.
            fresh: In a new process.
        """
        builds = [Built.from_json(data) for data in json.loads(built)]
        for one, parcel in zip(builds, ray.get(list(parcels)), strict=True):
            if one.key and parcel and self._cache.get(one.key) is None:
                metadata, payload = parcel
                self._cache.put(Artifact(one.key, payload, json.loads(metadata)))
        measurements = self._worker.measure(
            Task.from_json(json.loads(task)),
            [Config(config) for config in json.loads(configs)],
            builds,
            Sampling(**json.loads(sampling)),
            fresh=fresh,
        )
        return json.dumps([measurement.to_json() for measurement in measurements])


class RayRunner(Pipeline):
    """Evaluates configs on Ray: builder actors, and for each device an actor that has it to itself.

    The device is that of the machine that this runs on, so all actors are placed on its node: the code is compiled for
    the very CPU that runs it.

    Args:
        address: The cluster to join, `auto` or `HOST:PORT`, of which this machine is a node; None starts Ray on this
            machine. A Ray that this process has started or joined before is used as it is, and left running.
        builders: How many builds run at once; one for each core but the last by default, eight at most.
        cache: Folder of built artifacts on each node.
        timeouts: When a worker is killed. Cancelling a future does not stop the work on the cluster; these limits do.
        gpus: How many GPUs of one model measure, each the resource of one actor; each trial goes to the one with the
            fewest. With 0, one device measures that is no resource of Ray's.

    Raises:
        TunerError: the cluster cannot be joined, or has no room for the actors.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        builders: int | None = None,
        cache: Path | None = None,
        timeouts: Timeouts = Timeouts(),
        gpus: int = 0,
    ) -> None:
        count = builders or default_builders()
        cores = available_cores()
        devices = max(1, gpus)
        super().__init__(count, devices)
        self._started_ray = not ray.is_initialized()
        if self._started_ray:
            _start(address, count + devices)
        folder = str(cache or default_cache_folder())
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options: dict[str, Any] = {"num_cpus": 1, "scheduling_strategy": here, "max_restarts": _RESTARTS}
        options["max_task_retries"] = _RESTARTS
        builder = ray.remote(_BuilderActor).options(**options)
        # Ray shows an actor the GPUs that it asks for, and no others.
        device = ray.remote(_DeviceActor).options(**options, **({"num_gpus": 1} if gpus else {}))
        devices_ = [device.remote(folder, timeouts.measure_seconds, cores) for _ in range(devices)]
        self._device_load: dict[Any, int] = dict.fromkeys(devices_, 0)
        builders_ = [builder.remote(folder, timeouts.build_seconds, cores, number) for number in range(count)]
        self._load: dict[Any, int] = dict.fromkeys(builders_, 0)
        self._parcels: dict[tuple[str, Config], Any] = {}
        self._closed = False
        self._await_actors(count + devices, gpus)

    def close(self) -> None:
        """Kill the actors, and Ray itself if this runner started it."""
        if self._closed:
            return
        self._closed = True
        for actor in (*self._load, *self._device_load):
            ray.kill(actor)
        if self._started_ray:
            ray.shutdown()

    def _start_build(self, task: Task, config: Config) -> Future[Built]:
        actor = min(self._load, key=lambda one: self._load[one])
        self._load[actor] += 1
        reply, parcel = actor.build.options(num_returns=2).remote(json.dumps(task.to_json()), config.json)
        self._parcels[task.key, config] = parcel

        def finish(_: Future[str]) -> None:
            self._load[actor] -= 1

        future = _plain(reply)
        future.add_done_callback(finish)
        return then(future, lambda text: Built.from_json(json.loads(text)))

    def _start_measurement(
        self, task: Task, configs: Sequence[Config], built: Sequence[Built], sampling: Sampling, *, fresh: bool
    ) -> Future[list[Measurement]]:
        actor = min(self._device_load, key=lambda one: self._device_load[one])
        self._device_load[actor] += 1
        reply = actor.measure.remote(
            json.dumps(task.to_json()),
            json.dumps([dict(config) for config in configs]),
            json.dumps([one.to_json() for one in built]),
            [self._parcels[task.key, config] for config in configs],
            json.dumps(asdict(sampling)),
            fresh,
        )

        def finish(_: Future[str]) -> None:
            self._device_load[actor] -= 1

        future = _plain(reply)
        future.add_done_callback(finish)
        return then(future, lambda text: [Measurement.from_json(data) for data in json.loads(text)])

    def _await_actors(self, cores: int, gpus: int) -> None:
        try:
            ready = [actor.ready.remote() for actor in (*self._device_load, *self._load)]
            ray.get(ready, timeout=_START_SECONDS)
        except ray.exceptions.RayError as error:
            free = ray.available_resources()  # type: ignore[no-untyped-call]
            self.close()
            wanted = f"{cores} actors of one CPU each" + (f", {gpus} of them with a GPU," if gpus else "")
            raise TunerError(
                f"Ray has not started {wanted} on this node within {_START_SECONDS:g} seconds "
                f"({free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs are free in the cluster): "
                f"{type(error).__name__}"
            ) from error


def _start(address: str | None, cores: int) -> None:
    """Start Ray on this machine, or join the cluster at `address`."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # Workers must find the modules that this process finds: a script's own folder, for one.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        options |= {
            "num_cpus": cores,
            "include_dashboard": False,
            "runtime_env": {"env_vars": {"PYTHONPATH": path}},
        }
    if address is not None:
        _require_reachable(address)
    try:
        ray.init(address=address or "local", **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"join the Ray cluster at {address}" if address else "start Ray on this machine"
        raise TunerError(f"cannot {where}: {error}") from error


def _require_reachable(address: str) -> None:
    """Refuse an address that nobody listens on (Ray itself would retry for minutes), or that is not a node's.

    Raises:
        TunerError: no connection within a few seconds.
    """
    if address.startswith("ray://"):
        raise TunerError(
            f"{address} is the address of a Ray client's server, and the device is this machine's; "
            "join this machine to the cluster and give --ray auto"
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise TunerError(f"cannot join the Ray cluster at {address}: {error}") from error


def _plain(reply: Any) -> Future[str]:
    """Return the future of a reply, in which Ray's errors are ours."""
    outer: Future[str] = Future()

    def finish(inner: Future[str]) -> None:
        error = inner.exception()
        if isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, TunerError):
            outer.set_exception(error.cause)
        elif isinstance(error, ray.exceptions.RayError):
            outer.set_exception(TunerError(f"a worker on Ray was lost: {type(error).__name__}: {error}"))
        elif error:
            outer.set_exception(error)
        else:
            outer.set_result(inner.result())

    reply.future().add_done_callback(finish)
    return outer
