"""`tuner/Replay-v0`: a recorded space as an environment."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from tuner.db.kernel_tuner import read_cache_file
from tuner.envs.neighbour import NeighbourEnv
from tuner.envs.problem import Problem
from tuner.envs.search_env import SearchEnv
from tuner.envs.slate_env import SlateEnv
from tuner.envs.tuning import TuningEnv
from tuner.errors import TunerError

__all__ = ["Actions", "replay_env"]


class Actions(StrEnum):
    """What an action of `replay_env` is."""

    CONFIG = "config"
    NEIGHBOUR = "neighbour"
    SLATE = "slate"


def replay_env(path: str | Path | None = None, *, actions: str = Actions.CONFIG, **options: Any) -> SearchEnv[Any, Any]:
    """Return an environment over a recorded space: Kernel Tuner's cache files, or what `tuner record` writes.

    Args:
        path: The file, `.json` or `.json.gz`; a random space if None.
        actions: Whether an action is a whole `config`, changes one parameter (`neighbour`), or chooses from a `slate`.
        options: What that environment takes: `budget`, `reward`.

    Raises:
        StoreError: the file cannot be read.
        TunerError: there are no such actions.

    Example:
        >>> env = replay_env(actions="neighbour", budget=5)
        >>> type(env).__name__
        'NeighbourEnv'
    """
    if actions not in list(Actions):
        raise TunerError(f"actions={actions!r} are not known; choose one of {', '.join(Actions)}")
    problem = Problem.random(seed=0) if path is None else Problem.of_recorded(read_cache_file(Path(path)))
    match Actions(actions):
        case Actions.CONFIG:
            return TuningEnv(problem, **options)
        case Actions.NEIGHBOUR:
            return NeighbourEnv(problem, **options)
        case Actions.SLATE:
            return SlateEnv(problem, **options)
