"""Many searches side by side, whose trials are in flight together: each step is a batch on a runner's workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from tuner.envs.search_env import SearchEnv
from tuner.errors import TunerError

__all__ = ["RunnerVectorEnv"]


class RunnerVectorEnv(VectorEnv[Any, Any, NDArray[Any]]):
    """Steps through several environments at once: all configs of a step are submitted before any is waited for.

    With a runner of several workers, a step takes as long as the runner needs for the batch. Environments of one
    `Problem` share what was measured, and two that try the same config at once wait for one measurement.
    An episode that ends starts anew in the same step (`AutoresetMode.SAME_STEP`), and its last observation and info are
    `final_obs` and `final_info`.

    Args:
        envs: Environments with equal spaces of observations and actions.

    Raises:
        TunerError: there is none, or their spaces differ.

    Example:
        >>> from tuner.envs.slate_env import SlateEnv
        >>> env = RunnerVectorEnv([SlateEnv(budget=9) for _ in range(2)])
        >>> seen, _ = env.reset(seed=1)
        >>> seen, rewards, ended, cut, infos = env.step(np.array([0, 3]))
        >>> rewards.shape, infos["trials"].tolist()
        ((2,), [5, 5])
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012 - Gymnasium's own name

    def __init__(self, envs: Sequence[SearchEnv[Any, Any]]) -> None:
        if not envs:
            raise TunerError("there is no environment to step through; give one or more")
        first = envs[0]
        for env in envs[1:]:
            if (env.observation_space, env.action_space) != (first.observation_space, first.action_space):
                raise TunerError(
                    f"{type(env).__name__} of {env.problem.task.tunable} has other observations or actions than "
                    f"{type(first).__name__} of {first.problem.task.tunable}; a slate's are the same in every space"
                )
        self.envs = list(envs)
        self.num_envs = len(self.envs)
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin all searches anew; environment i has the seed `seed` + i."""
        super().reset(seed=seed)
        infos: dict[str, Any] = {}
        seen = []
        for i, env in enumerate(self.envs):
            observation, info = env.reset(seed=None if seed is None else seed + i, options=options)
            seen.append(observation)
            infos = self._add_info(infos, info, i)
        return self._together(seen), infos

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Submit one config of each search, then wait for all of them."""
        each = list(iterate(self.action_space, actions))
        pending = [env.begin(action) for env, action in zip(self.envs, each, strict=True)]
        results = [env.end(one) for env, one in zip(self.envs, pending, strict=True)]
        infos: dict[str, Any] = {}
        seen = []
        for i, (env, (observation, _, ended, cut, info)) in enumerate(zip(self.envs, results, strict=True)):
            here, now = observation, info
            if ended or cut:
                here, now = env.reset()
                now = {**now, "final_obs": observation, "final_info": info}
            seen.append(here)
            infos = self._add_info(infos, now, i)
        rewards = np.array([reward for _, reward, *_ in results], dtype=np.float64)
        over = np.array([[ended, cut] for *_, ended, cut, _ in results], dtype=np.bool_)
        return self._together(seen), rewards, over[:, 0], over[:, 1], infos

    def action_masks(self) -> NDArray[np.bool_]:
        """Return each environment's own masks, one row an environment."""
        return np.stack([env.action_masks() for env in self.envs])  # type: ignore[attr-defined]  # all but SearchEnv have it

    def close_extras(self, **_: Any) -> None:
        """Close the environments; their runners belong to whoever started them."""
        for env in self.envs:
            env.close()

    def _together(self, seen: Sequence[Any]) -> Any:
        empty: Any = create_empty_array(self.single_observation_space, self.num_envs)
        return concatenate(self.single_observation_space, seen, empty)
