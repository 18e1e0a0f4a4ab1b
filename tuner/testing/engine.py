"""What every inference engine must do, and a toy one whose speed is a formula."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import pytest

from tuner.engines import (
    Applied,
    Engine,
    EngineError,
    EngineLateError,
    EngineParameter,
    EngineTunable,
    QualityError,
    Route,
    Window,
)
from tuner.errors import WorkloadError
from tuner.search_spaces import Parameter
from tuner.types import Config, Device, Scalar, Workload

__all__ = ["FAULTY", "TOY", "WIDE", "EngineContract", "ToyEngine", "ToyTunable", "WideEngine", "WideTunable"]


class ToyEngine(Engine):
    """Serves a request in (1 + (BATCH - N)^2) / THREADS milliseconds by formula; nothing is slept.

    BATCH changes while it runs, THREADS needs a restart, and FAULT makes it fail as it says.
    """

    def __init__(self, workload: Workload) -> None:
        self._best = workload.integer("N")
        self._config: Config | None = None
        self.starts = 0

    def apply(self, config: Config) -> Applied:
        """Start, unless BATCH alone has changed."""
        match config["FAULT"]:
            case "start":
                raise EngineError("no room for the cache")
            case "late":
                raise EngineLateError("not ready after 0 seconds")
        before, self._config = self._config, config
        if before is not None and before["THREADS"] == config["THREADS"]:
            return Applied.REUSE if before == config else Applied.RECONFIGURE
        self.starts += 1
        return Applied.START

    def check(self, seed: int) -> Mapping[str, Scalar]:
        """Be wrong on request."""
        assert self._config is not None, "apply comes first"
        if self._config["FAULT"] == "wrong":
            raise QualityError("rel_error=0.5 is above 0.01")
        return {"rel_error": 0.001}

    def measure(self, window: Window) -> Mapping[str, tuple[float, ...]]:
        """Return the formula's time, by window and by request."""
        assert self._config is not None, "apply comes first"
        match self._config["FAULT"]:
            case "serve":
                raise EngineError("the engine ended: out of memory")
            case "hang":
                time.sleep(3600)
            case "crash":
                os.abort()
        distance = self._config.integer("BATCH") - self._best
        seconds = 1e-3 * (1 + distance**2) / self._config.integer("THREADS")
        return {"seconds": (seconds,), "e2e_seconds": (seconds, 2 * seconds), "request_per_second": (1 / seconds,)}

    def resources(self) -> Mapping[str, Scalar]:
        """How often it was started, and a memory that grows with the batch."""
        assert self._config is not None, "apply comes first"
        return {"starts": self.starts, "peak_memory_bytes": 2 ** self._config.integer("BATCH")}

    def close(self) -> None:
        """Nothing runs."""
        self._config = None


class ToyTunable(EngineTunable):
    """The toy engine as a tunable; fastest where BATCH = N and THREADS = 2.

    Args:
        faults: The faults that configs may ask for; `none` alone makes every config work.
    """

    name = "toy"
    version = "1"
    workloads: Mapping[str, Workload] = {"small": Workload(N=3)}

    def __init__(self, faults: Sequence[str] = ("none",)) -> None:
        super().__init__()
        self._faults = tuple(faults)

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the workload: one integer N."""
        if set(fields) != {"N"} or not isinstance(fields["N"], int):
            raise WorkloadError(f"the toy engine takes one integer field N, not {dict(fields)}")
        return Workload(fields)

    def environment(self) -> Mapping[str, str]:
        """No tool enters the result."""
        return {}

    def parameters(self, workload: Workload, device: Device) -> Sequence[EngineParameter]:
        """BATCH, which changes at run time, THREADS, which does not, and a fault."""
        return [
            EngineParameter(Parameter.integer("BATCH", 0, 7), Route.CALL, "batch", restarts=False),
            EngineParameter(Parameter.integer("THREADS", 1, 2), Route.VARIABLE, "OMP_NUM_THREADS"),
            EngineParameter(Parameter.categorical("FAULT", self._faults), Route.FLAG, "--fault"),
        ]

    def create(self, workload: Workload) -> Engine:
        """Return an engine that has not been started."""
        return ToyEngine(workload)


class WideTunable(ToyTunable):
    """The toy engine with RANKS, which each need a device and 1 GiB of memory on it; it notes which devices it sees."""

    name = "wide"

    def parameters(self, workload: Workload, device: Device) -> Sequence[EngineParameter]:
        """One, two, four or eight devices."""
        ranks = EngineParameter(Parameter.categorical("RANKS", [1, 2, 4, 8]), Route.FLAG, "--ranks")
        return [*super().parameters(workload, device), ranks]

    def devices(self, config: Config, workload: Workload) -> int:
        """As many as RANKS."""
        return config.integer("RANKS") if "RANKS" in config else 1

    def memory_bytes(self, config: Config, workload: Workload) -> int:
        """1 GiB."""
        return 1 << 30

    def create(self, workload: Workload) -> Engine:
        """Return an engine that tells where it runs."""
        return WideEngine(workload)


class WideEngine(ToyEngine):
    """A toy engine that says which devices its process sees, and how many of its kind run in that process."""

    def resources(self) -> Mapping[str, Scalar]:
        """The devices and the process."""
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return {**super().resources(), "visible": seen, "process": os.getpid()}


TOY = ToyTunable()
"""Every config works."""

WIDE = WideTunable()
"""Configs need several devices."""

FAULTY = ToyTunable(("none", "start", "late", "wrong", "serve", "crash"))
"""Configs fail in every way that takes no time."""


class EngineContract(ABC):
    """Subclass it and say how the engine is made; pytest runs the rest."""

    @abstractmethod
    def make(self) -> Engine:
        """Return an engine that has not been started."""

    @abstractmethod
    def configs(self) -> tuple[Config, Config]:
        """Return two configs that work."""

    @pytest.fixture
    def engine(self) -> Engine:
        return self.make()

    def test_applying_starts_once_and_then_uses_what_runs(self, engine: Engine) -> None:
        one, _ = self.configs()
        try:
            assert engine.apply(one) is Applied.START
            assert engine.apply(one) is Applied.REUSE
        finally:
            engine.close()

    def test_a_window_has_one_time_for_each_request(self, engine: Engine) -> None:
        try:
            for config in self.configs():
                engine.apply(config)
                samples = engine.measure(Window(1))
                assert len(samples["seconds"]) == 1
                assert samples["seconds"][0] > 0
        finally:
            engine.close()

    def test_it_may_be_closed_twice_and_started_again(self, engine: Engine) -> None:
        one, _ = self.configs()
        engine.apply(one)
        engine.close()
        engine.close()
        try:
            assert engine.apply(one) is Applied.START
        finally:
            engine.close()
