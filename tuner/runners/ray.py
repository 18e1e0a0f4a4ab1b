"""Builders and device workers as Ray actors, on this machine or on a cluster. The only module that imports Ray here."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from tuner.devices import available_cores
from tuner.errors import RunnerClosedError, TunerError
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

    def stop(self) -> None:
        """End the process that measures, with all that it started."""
        self._worker.stop()

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


@dataclass(slots=True, eq=False)
class _Group:
    """An actor that has several devices of one node, as a placement group of Ray's keeps them together."""

    node: str
    size: int
    group: Any
    actor: Any
    busy: bool = True


class _Gangs:
    """Groups of devices on the nodes of a cluster, one for each measurement that runs, at most as many as there are.

    An idle group keeps its devices, and whatever runs on them, for the next measurement of its size; it ends when its
    devices are wanted otherwise. Measurements are placed in the order in which they come, so that a large one is not
    starved by small ones.

    Args:
        resource: What a device is called among Ray's resources, such as `GPU`.
        cache: Folder of built artifacts on each node.
        measure_seconds: When a measurement is given up.

    Raises:
        TunerError: no node has the resource.
    """

    def __init__(self, resource: str, cache: str, measure_seconds: float) -> None:
        self._resource = resource
        self._cache = cache
        self._measure_seconds = measure_seconds
        self._nodes = {
            node["NodeID"]: int(node["Resources"].get(resource, 0))
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"] and node["Resources"].get(resource, 0) >= 1
        }
        if not self._nodes:
            raise TunerError(f"no node of the Ray cluster has the resource {resource!r}; start one with it")
        self._groups: list[_Group] = []
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = ThreadPoolExecutor(self.total, "tuner-gang")

    @property
    def total(self) -> int:
        """Devices of the cluster."""
        return sum(self._nodes.values())

    @property
    def most(self) -> int:
        """Devices of the largest node."""
        return max(self._nodes.values())

    def measure(
        self,
        task: Task,
        configs: Sequence[Config],
        built: Sequence[Built],
        parcels: Sequence[Any],
        sampling: Sampling,
        *,
        fresh: bool,
    ) -> Future[list[Measurement]]:
        """Measure on a group of as many devices as `sampling` says."""
        words = (
            json.dumps(task.to_json()),
            json.dumps([dict(config) for config in configs]),
            json.dumps([one.to_json() for one in built]),
            list(parcels),
            json.dumps(asdict(sampling)),
            fresh,
        )
        return self._threads.submit(self._measure, max(1, sampling.devices), words)

    def close(self) -> None:
        """End all groups; what they measure is lost."""
        with self._changed:
            self._closed = True
            groups, self._groups = self._groups, []
            self._changed.notify_all()
        for group in groups:
            _end(group)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _measure(self, size: int, words: tuple[Any, ...]) -> list[Measurement]:
        group = self._taken(size)
        try:
            reply = _plain(group.actor.measure.remote(*words)).result()
            return [Measurement.from_json(data) for data in json.loads(reply)]
        except TunerError:
            # Its actor or its node may be lost; the next measurement gets another.
            with self._changed:
                if group in self._groups:
                    self._groups.remove(group)
                    _end(group)
            raise
        finally:
            with self._changed:
                group.busy = False
                self._changed.notify_all()

    def _taken(self, size: int) -> _Group:
        """Return a group of `size` devices that nobody else uses, as soon as there is one."""
        turn = object()
        with self._changed:
            self._queue.append(turn)
            try:
                while True:
                    if self._closed:
                        raise RunnerClosedError("the runner was closed")
                    if self._queue[0] is turn and (found := self._found(size)):
                        return found
                    self._changed.wait()
            finally:
                self._queue.remove(turn)
                self._changed.notify_all()

    def _found(self, size: int) -> _Group | None:
        """Return an idle group, or a new one in place of idle ones; None while too many devices are busy."""
        idle = [group for group in self._groups if not group.busy]
        for group in idle:
            if group.size == size:
                group.busy = True
                return group
        for node in sorted(self._nodes, key=self._free, reverse=True):
            here = [group for group in idle if group.node == node]
            if self._free(node) + sum(group.size for group in here) < size:
                continue
            while self._free(node) < size:
                group = here.pop(0)
                self._groups.remove(group)
                _end(group)
            return self._started(node, size)
        return None

    def _free(self, node: str) -> int:
        return self._nodes[node] - sum(group.size for group in self._groups if group.node == node)

    def _started(self, node: str, size: int) -> _Group:
        """Return a new group on a node.

        Raises:
            TunerError: Ray has no room for it, since others use the cluster too.
        """
        bundle = {"CPU": 1, self._resource: size}
        group = placement_group([bundle], strategy="STRICT_PACK", _soft_target_node_id=node)
        if not group.wait(_START_SECONDS):
            remove_placement_group(group)
            raise TunerError(
                f"Ray has had no node with a CPU and {size} {self._resource} free within {_START_SECONDS:g} seconds"
            )
        own: dict[str, Any] = {"num_gpus": size} if self._resource == "GPU" else {"resources": {self._resource: size}}
        actor = (
            ray.remote(_DeviceActor)
            .options(
                num_cpus=1,
                max_restarts=_RESTARTS,
                max_task_retries=_RESTARTS,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0),
                **own,
            )
            .remote(self._cache, self._measure_seconds, ())
        )
        made = _Group(node, size, group, actor)
        self._groups.append(made)
        return made


def _end(group: _Group) -> None:
    """Kill an actor, whose worker and servers die with it, and give its devices back."""
    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(group.actor.stop.remote(), timeout=_CONNECT_SECONDS)
    ray.kill(group.actor)
    remove_placement_group(group.group)


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
        gang: The resource of Ray's of which trials take as many as they need, on whichever node has them free, such as
            `GPU`: for engines that run on several devices. The nodes that have it are alike. It replaces `gpus`.

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
        gang: str | None = None,
    ) -> None:
        count = builders or default_builders()
        cores = available_cores()
        devices = 0 if gang else max(1, gpus)
        super().__init__(count, max(1, devices))
        self._started_ray = not ray.is_initialized()
        if self._started_ray:
            _start(address, count + max(1, devices))
        self._gangs: _Gangs | None = None
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
        if gang:
            self._gangs = _Gangs(gang, folder, timeouts.measure_seconds)
            self._devices = self._gangs.total

    def close(self) -> None:
        """Kill the actors, and Ray itself if this runner started it."""
        if self._closed:
            return
        self._closed = True
        if self._gangs:
            self._gangs.close()
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
        if self._gangs:
            parcels = [self._parcels[task.key, config] for config in configs]
            return self._gangs.measure(task, configs, built, parcels, sampling, fresh=fresh)
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

    def _counts_devices(self, task: Task) -> bool:
        return self._gangs is not None or super()._counts_devices(task)

    def _most_devices(self, task: Task) -> int:
        return self._gangs.most if self._gangs else super()._most_devices(task)

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
