"""A Gymnasium vector environment as Stable-Baselines3 wants one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from tuner.errors import TunerError

__all__ = ["VectorBridge"]


class VectorBridge(VecEnv):
    """Passes batches on as they are, instead of stepping through single environments.

    At the end of an episode, an info has `terminal_observation` and `TimeLimit.truncated`, and, as SB3's monitor writes
    it, `episode` with its reward, its length and the seconds since the start.

    Args:
        env: An environment that starts episodes anew in the step in which they end.
        seed: Of its first reset.

    Raises:
        TunerError: it starts episodes anew at another time.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], seed: int) -> None:
        if env.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise TunerError(f"{type(env).__name__} does not begin a new episode in the step that ends one")
        # SB3 asks for the environment's attributes while it begins.
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._seed: int | None = seed
        self._actions: NDArray[Any] = np.empty(0)
        self._rewards = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, dtype=np.int64)
        self._started = time.monotonic()

    def reset(self) -> Any:
        """Begin all episodes anew; the first time, with the seed."""
        seen, _ = self.env.reset(seed=self._seed)
        self._seed = None
        self._rewards[:] = 0
        self._lengths[:] = 0
        return seen

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Take the step."""
        seen, rewards, ended, cut, infos = self.env.step(self._actions)
        over = ended | cut
        self._rewards += rewards
        self._lengths += 1
        each: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(over).tolist():
            each[i] = {
                "terminal_observation": infos["final_obs"][i],
                "TimeLimit.truncated": bool(cut[i] and not ended[i]),
                "episode": {
                    "r": float(self._rewards[i]),
                    "l": int(self._lengths[i]),
                    "t": time.monotonic() - self._started,
                },
            }
            if "optimum_share" in infos:
                each[i]["optimum_share"] = float(infos["optimum_share"][i])
        self._rewards[over] = 0
        self._lengths[over] = 0
        return seen, rewards.astype(np.float32), over, each

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def has_attr(self, attr_name: str) -> bool:
        """Return whether the environment has `attr_name`."""
        return hasattr(self.env, attr_name)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the environment's attribute once for each search."""
        return [getattr(self.env, attr_name)] * len(self._chosen(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: searches share one environment."""
        raise NotImplementedError("the searches of a vector environment have no attributes of their own")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the environment that returns one row a search, such as `action_masks`."""
        rows = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [rows[i] for i in self._chosen(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Return False for each search."""
        return [False] * len(self._chosen(indices))

    def _chosen(self, indices: int | Iterable[int] | None) -> Sequence[int]:
        return list(self._get_indices(indices))
