"""An engine whose model runs in processes of ours: one, or several replicas that share the items."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.engines.base import Applied, Engine, EngineError, QualityError, Window
from tuner.engines.energy import EnergyMeter
from tuner.engines.module.peer import Peer
from tuner.types import Config, Scalar, Workload, digest

__all__ = ["ModuleEngine", "shares"]

_START_SECONDS = 300.0
_WINDOW_SECONDS = 120.0
_SEEDS = 2**63
# A window of so many periods of the counter of energy is long enough for it.
_LONG_PERIODS = 10
# For a shorter one the counter is read over so many periods, after one in which the same items were served already.
_ENERGY_PERIODS = 2
# What the folder of exports is called in that for temporary files, which in a worker goes with the worker.
_FOLDER = "tuner-exports"


class ModuleEngine(Engine):
    """Serves a window's items with a model, loaded by a library.

    Args:
        workload: Names the model, and says how many items a window has.
        reference: Of the model's factory.
        engine: The library, where no parameter `ENGINE` says it.
    """

    def __init__(self, workload: Workload, reference: str, engine: str) -> None:
        self._workload = workload
        self._reference = reference
        self._engine = engine
        self._config: Config | None = None
        self._peers: list[Peer] = []
        self._told: dict[str, Scalar] = {}
        self._tokens = 0
        self._meter: EnergyMeter | None = None

    @property
    def pids(self) -> list[int]:
        """The processes that serve."""
        return [peer.pid for peer in self._peers]

    def apply(self, config: Config) -> Applied:
        """Run under `config`: a batch size changes while the model stays loaded, all else is loaded anew."""
        if config == self._config:
            return Applied.REUSE
        try:
            if self._config is not None and _loaded_as(config) == _loaded_as(self._config):
                self._tell(self._ask_all({"do": "resize", "batch": config.integer("BATCH")}, _START_SECONDS))
                self._config = config
                return Applied.RECONFIGURE
            self.close()
            self._start(config)
        except EngineError:
            self.close()
            raise
        self._config = config
        return Applied.START

    def check(self, seed: int) -> Mapping[str, Scalar]:
        """Return `rel_error`, `kl_logits` and `top1_agreement` against the module in float32.

        Raises:
            QualityError: a limit of the model is broken.
        """
        reply = self._peers[0].ask({"do": "check", "seed": _drawn(seed, "held out")}, _WINDOW_SECONDS)
        if reply["broken"]:
            raise QualityError(reply["broken"])
        figures: dict[str, Scalar] = reply["figures"]
        return figures

    def measure(self, window: Window) -> Mapping[str, tuple[float, ...]]:
        """Serve the window's items, and return the time of one, with the time of every batch.

        Where the machine has a counter of energy that moves slowly, they are served again until it has moved.
        """
        items = self._workload.integer("items")
        share = items // len(self._peers)
        for number, peer in enumerate(self._peers):
            peer.send({"do": "prepare", "seed": _drawn(window.seed, number), "items": share})
        self._receive_all(_WINDOW_SECONDS)
        before = self._meter.joules() if self._meter else None
        started = time.perf_counter()
        replies = self._ask_all({"do": "serve"}, _WINDOW_SECONDS)
        seconds = time.perf_counter() - started
        samples: dict[str, tuple[float, ...]] = {
            "seconds": (seconds / items,),
            "items_per_second": (items / seconds,),
            "cpu_seconds": (sum(reply["cpu_seconds"] for reply in replies) / items,),
            "batch_seconds": tuple(one for reply in replies for one in reply["batch_seconds"]),
        }
        if self._tokens:
            samples["tokens_per_second"] = (items * self._tokens / seconds,)
        if before is not None and (joules := self._joules(before, seconds)):
            samples["joules_per_item"] = (joules / items,)
            if self._tokens:
                samples["joules_per_token"] = (joules / items / self._tokens,)
        return samples

    def _joules(self, before: float, seconds: float) -> float:
        """Return the machine's energy for one window of these items; 0 where the counter did not move.

        A counter shows what was used up to its last move: both readings are late by as much while the same goes on.

        Args:
            before: What the counter showed before the window.
            seconds: How long the window took.
        """
        assert self._meter is not None, "it was read before"
        period = self._meter.period_seconds
        if seconds >= _LONG_PERIODS * period:
            return (self._meter.joules() or before) - before
        while seconds < period:
            seconds += self._served_seconds()
        before, windows, seconds = self._meter.joules() or before, 0, 0.0
        while seconds < _ENERGY_PERIODS * period:
            seconds += self._served_seconds()
            windows += 1
        return ((self._meter.joules() or before) - before) / windows

    def _served_seconds(self) -> float:
        started = time.perf_counter()
        self._ask_all({"do": "serve"}, _WINDOW_SECONDS)
        return time.perf_counter() - started

    def resources(self) -> Mapping[str, Scalar]:
        """Return the memory of all processes, and what the start took."""
        return dict(self._told)

    def close(self) -> None:
        """Kill the processes."""
        while self._peers:
            self._peers.pop().close()
        self._config = None

    def _start(self, config: Config) -> None:
        started = time.perf_counter()
        replicas = config.integer("REPLICAS") if "REPLICAS" in config else 1
        threads = str(config.integer("THREADS")) if "THREADS" in config else ""
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads) if threads else {}
        request = {
            "do": "start",
            "engine": config.get("ENGINE", self._engine),
            "model": self._reference,
            "config": dict(config),
            "folder": str(Path(tempfile.gettempdir(), _FOLDER)),
            "key": digest([self._reference, self._workload["digest"]]),
        }
        replies: list[dict[str, Any]] = []
        for number, own in enumerate(shares(cores, replicas)):
            peer = Peer(own, environment)
            self._peers.append(peer)
            peer.send(request)
            if number == 0:
                # What the first one exports, the others find.
                replies += self._receive_all(_START_SECONDS)
        replies += self._receive_all(_START_SECONDS, self._peers[1:])
        self._tokens = replies[0]["tokens"]
        self._meter = EnergyMeter(range(1) if config.get("DEVICE") == "cuda" else ())
        self._told = {"start_seconds": time.perf_counter() - started}
        self._tell(replies)

    def _tell(self, replies: list[dict[str, Any]]) -> None:
        for name in ("memory_bytes", "peak_memory_bytes", "device_memory_bytes"):
            if total := sum(reply[name] for reply in replies):
                self._told[name] = total

    def _ask_all(self, request: Mapping[str, Any], seconds: float) -> list[dict[str, Any]]:
        for peer in self._peers:
            peer.send(request)
        return self._receive_all(seconds)

    def _receive_all(self, seconds: float, peers: list[Peer] | None = None) -> list[dict[str, Any]]:
        deadline = time.monotonic() + seconds
        return [peer.receive(deadline) for peer in (self._peers if peers is None else peers)]


def shares(cores: Sequence[int], replicas: int) -> list[list[int]]:
    """Return the cores of each replica: parts of about one size, or all cores for each where there are too few.

    Example:
        >>> shares([0, 1, 2, 3], 2), shares([0], 2)
        ([[0, 1], [2, 3]], [[0], [0]])
    """
    if len(cores) < replicas:
        return [list(cores)] * replicas
    return [list(cores[i * len(cores) // replicas : (i + 1) * len(cores) // replicas]) for i in range(replicas)]


def _loaded_as(config: Config) -> dict[str, Scalar]:
    """Return the part of a config that is settled when the model is loaded."""
    return {name: value for name, value in config.items() if name != "BATCH"}


def _drawn(seed: int, what: object) -> int:
    return int(digest([seed, what]), 16) % _SEEDS
