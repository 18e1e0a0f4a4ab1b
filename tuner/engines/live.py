"""One engine that goes on serving while its config changes: what an agent controls at run time."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tuner.engines.base import Applied, EngineError, EngineTunable, Window
from tuner.types import Config, Device, Workload

__all__ = ["LiveEngine"]


class LiveEngine:
    """Runs an engine of a tunable under one config after another, and says how long its users waited for each change.

    Args:
        tunable: The engine.
        workload: What it serves.
        device: What it runs on.

    Attributes:
        space: Its configs.
        default: What it does where nobody says otherwise.

    Example:
        >>> from tuner.testing.engine import TOY
        >>> live = LiveEngine(TOY, Workload(N=3), Device("cpu", "a processor", "x86_64", 1, 0))
        >>> live.apply(live.default) > 0, live.apply(Config({**live.default, "BATCH": 3}))
        (True, 0.0)
        >>> live.measure(seed=0)["seconds"]
        (0.001,)
        >>> live.close()
    """

    def __init__(self, tunable: EngineTunable, workload: Workload, device: Device) -> None:
        self.space = tunable.search_space(workload, device)
        self.default = tunable.default(workload, device)
        self._engine = tunable.create(workload)

    def apply(self, config: Config) -> float:
        """Run under `config` from now on, and return the seconds without service: none where it was not started anew.

        Raises:
            EngineError: it does not start; nothing is left running, and the next change starts it.
        """
        started = time.perf_counter()
        try:
            applied = self._engine.apply(config)
        except EngineError:
            self._engine.close()
            raise
        return time.perf_counter() - started if applied is Applied.START else 0.0

    def measure(self, seed: int) -> Mapping[str, tuple[float, ...]]:
        """Return the samples of one window of traffic, by metric.

        Raises:
            EngineError: it failed; nothing is left running, and the next change starts it.
        """
        try:
            return self._engine.measure(Window(seed))
        except EngineError:
            self._engine.close()
            raise

    def close(self) -> None:
        """End what runs; a second call does nothing."""
        self._engine.close()
