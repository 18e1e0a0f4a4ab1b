"""`tuner/Engine-v0`: an engine that runs, whose config is changed under traffic; a restart costs its time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tuner.errors import TunerError
from tuner.objective import Direction, Objective
from tuner.search_spaces import Parameter, SearchSpace
from tuner.types import Config, Measurement, Status, Trial

__all__ = ["SHOWN", "EngineEnv", "FormulaEngine", "ServedEngine"]

SHOWN: Sequence[str] = (
    "goodput_per_second",
    "requests_per_second",
    "output_tokens_per_second",
    "ttft_seconds",
    "tpot_seconds",
    "e2e_seconds",
    "error_rate",
    "queue_requests",
    "running_requests",
    "kv_cache_share",
    "peak_memory_bytes",
    "cpu_seconds",
)
"""What the observation shows of the last window, as far as the engine tells it: the logarithm of 1 + its median."""

_CLIP = 16.0
_PROGRESS = 6


class ServedEngine(Protocol):
    """A running engine as the environment needs it; whoever made it closes it.

    Attributes:
        space: Its configs.
        default: The config that rewards are relative to.
    """

    space: SearchSpace
    default: Config

    def apply(self, config: Config) -> float:
        """Run under `config` from now on, and return the seconds that its users had to wait for that.

        Raises:
            TunerError: it does not start; it is as it was before, or stands still.
        """

    def measure(self, seed: int) -> Mapping[str, tuple[float, ...]]:
        """Return the samples of one window of traffic, by metric; `seed` draws the requests.

        Raises:
            TunerError: it failed under its traffic.
        """


class EngineEnv(gymnasium.Env[dict[str, Any], NDArray[np.integer]]):
    """An episode serves windows of traffic; before each, the action chooses the config.

    The reward of a step is the logarithm of the objective over the default's in the first window, less what a restart
    cost: the seconds without service over those of a window. So a better config has to serve for some windows until it
    has paid for its restart, and an agent learns when a change is worth it.

    Args:
        engine: What serves; a toy one by formula if None.
        objective: What is optimised; its limits make a window worth nothing that breaks them.
        windows: Windows of an episode.
        window_seconds: How long one takes; a restart of as long costs `restart_weight`.
        restart_weight: What a restart that takes a window's time costs.
        failure: What a config costs that does not start, or breaks a limit.

    The observation is a dict: `config` (each parameter's index as a share of its range), `shown` (`SHOWN`, of the last
    window), `progress` (logarithm of the last window over the first; of the best over the first; the windows left as a
    share; what the last change cost, in rewards; what restarts have cost on average; whether the last config failed).
    The info has `config`, `value` (of the objective; None where it failed), `apply_seconds`, `restarts`, `error`,
    `moved` (the action was not valid, and this is the nearest config that is).

    Example:
        >>> env = EngineEnv(windows=4)
        >>> seen, info = env.reset(seed=0)
        >>> seen, reward, ended, cut, info = env.step(env.engine.space.encode(env.engine.default))
        >>> reward, info["apply_seconds"], ended
        (0.0, 0.0, False)
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own name

    def __init__(
        self,
        engine: ServedEngine | None = None,
        *,
        objective: Objective = Objective("goodput_per_second", Direction.MAXIMIZE),
        windows: int = 50,
        window_seconds: float = 10.0,
        restart_weight: float = 1.0,
        failure: float = 1.0,
    ) -> None:
        if windows < 1:
            raise TunerError(f"windows={windows} of an episode are none; give 1 or more")
        if not (window_seconds > 0 and restart_weight >= 0 and failure >= 0):
            raise TunerError(
                f"window_seconds={window_seconds} has to be positive, and restart_weight={restart_weight} and "
                f"failure={failure} at least 0"
            )
        if objective.beside:
            raise TunerError("a reward is one number; give one objective")
        self.engine = engine if engine is not None else FormulaEngine()
        self.objective = objective
        self.windows = windows
        self._window_seconds = window_seconds
        self._weight = restart_weight
        self._failure = failure
        space = self.engine.space
        self.action_space = gymnasium.spaces.MultiDiscrete(np.array(space.shape))
        self.observation_space = gymnasium.spaces.Dict(
            {
                "config": gymnasium.spaces.Box(0.0, 1.0, (len(space.names),), np.float32),
                "progress": gymnasium.spaces.Box(-_CLIP, _CLIP, (_PROGRESS,), np.float32),
                "shown": gymnasium.spaces.Box(0.0, 64.0, (len(SHOWN),), np.float32),
            }
        )
        self._config = self.engine.default
        self._first = self._last = self._best = math.inf
        self._samples: Mapping[str, tuple[float, ...]] = {}
        self._served = self._restarts = 0
        self._cost = self._costs = 0.0
        self._failed = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Serve one window under the default config: what rewards are relative to.

        Raises:
            TunerError: the default fails, or breaks a limit.
        """
        super().reset(seed=seed)
        self._served = self._restarts = 0
        self._cost = self._costs = 0.0
        self._failed = False
        self.engine.apply(self.engine.default)
        self._config = self.engine.default
        self._samples = self.engine.measure(self._seed())
        self._first = self._last = self._best = self._log()
        if not math.isfinite(self._first):
            raise TunerError("the engine's default serves nothing that counts; rewards would be relative to nothing")
        return self._observed(), self._info(0.0, "", moved=False)

    def step(self, action: NDArray[np.integer]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Serve one window under the config that `action` means."""
        config, moved = self._meaning(np.asarray(action, dtype=np.int64))
        seconds, error = 0.0, ""
        try:
            seconds = self.engine.apply(config)
            self._config = config
            self._samples = self.engine.measure(self._seed())
            self._last = self._log()
        except TunerError as failure:
            error = str(failure)
            self._config, self._samples, self._last = config, {}, math.inf
        self._served += 1
        self._restarts += seconds > 0
        self._cost = self._weight * seconds / self._window_seconds
        self._costs += self._cost
        self._failed = not math.isfinite(self._last)
        self._best = min(self._best, self._last)
        gain = -self._failure if self._failed else self._first - self._last
        ended = self._served >= self.windows
        return self._observed(), float(gain - self._cost), ended, False, self._info(seconds, error, moved=moved)

    def _meaning(self, action: NDArray[np.int64]) -> tuple[Config, bool]:
        space = self.engine.space
        config = space.decode(action)
        if space.contains(config):
            return config, False
        return space.nearest(action) or self.engine.default, True

    def _seed(self) -> int:
        return int(self.np_random.integers(2**31))

    def _trial(self) -> Trial:
        return Trial(self._config, Measurement(Status.CORRECT, self._samples))

    def _log(self) -> float:
        return self.objective.log_score(self._trial())

    def _observed(self) -> dict[str, Any]:
        space = self.engine.space
        shown = [_median(self._samples.get(name, ())) for name in SHOWN]
        progress = [
            self._first - self._last if math.isfinite(self._last) else 0.0,
            self._first - self._best,
            1 - self._served / self.windows,
            self._cost,
            self._costs / max(self._restarts, 1),
            float(self._failed),
        ]
        scale = np.maximum(np.array(space.shape) - 1, 1)
        return {
            "config": (space.encode(self._config) / scale).astype(np.float32),
            "progress": np.array(progress, dtype=np.float32).clip(-_CLIP, _CLIP),
            "shown": np.log1p(np.maximum(np.array(shown), 0.0)).clip(0.0, 64.0).astype(np.float32),
        }

    def _info(self, seconds: float, error: str, *, moved: bool) -> dict[str, Any]:
        value = self.objective.value(self._trial().measurement) if self._samples else None
        return {
            "config": dict(self._config),
            "value": value,
            "apply_seconds": seconds,
            "restarts": self._restarts,
            "error": error,
            "moved": moved,
        }


def _median(samples: Sequence[float]) -> float:
    return float(np.median(np.asarray(samples))) if len(samples) else 0.0


class FormulaEngine:
    """A server by formula, which takes no time: batches help until they are too large, and threads need a restart.

    Its load goes up and down with the windows, so that which batch is best changes while it runs.

    Example:
        >>> engine = FormulaEngine()
        >>> engine.apply(engine.default), engine.apply(Config(BATCH=8, THREADS=2))
        (0.0, 20.0)
    """

    def __init__(self, *, restart_seconds: float = 20.0) -> None:
        self.space = SearchSpace([Parameter.integer("BATCH", 1, 16), Parameter.integer("THREADS", 1, 4)])
        self.default = Config(BATCH=1, THREADS=1)
        self._restart_seconds = restart_seconds
        self._config: Config | None = None

    def apply(self, config: Config) -> float:
        """Return what the change costs: nothing at first, and where only BATCH changes."""
        before, self._config = self._config, config
        same = before is None or before["THREADS"] == config["THREADS"]
        return 0.0 if same else self._restart_seconds

    def measure(self, seed: int) -> Mapping[str, tuple[float, ...]]:
        """Return one window's figures."""
        assert self._config is not None, "apply comes first"
        load = 20.0 * (1 + 0.5 * math.sin(seed))
        batch, threads = self._config.integer("BATCH"), self._config.integer("THREADS")
        capacity = 4.0 * threads * batch / (1 + batch / 8)
        seconds = batch / capacity
        served = min(load, capacity)
        return {
            "goodput_per_second": (served / (1 + seconds),),
            "requests_per_second": (served,),
            "e2e_seconds": (seconds, 2 * seconds),
            "queue_requests": (max(0.0, load - capacity),),
            "running_requests": (min(load * seconds, float(batch)),),
        }
