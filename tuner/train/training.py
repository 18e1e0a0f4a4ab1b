"""What is to be trained, on what, and how long: as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tuner.agents.policy_file import Policy
from tuner.agents.slate import SlateShape
from tuner.errors import TunerError
from tuner.types import Task

__all__ = ["Algorithm", "Training", "TrainingProgress", "recorded_files"]


class Algorithm(StrEnum):
    """How a policy learns: by Stable-Baselines3 and sb3-contrib, or, on recorded spaces, from all rewards (`exact`)."""

    PPO = "ppo"
    A2C = "a2c"
    DQN = "dqn"
    MASKABLE_PPO = "maskable_ppo"
    EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Training:
    """What `train` does.

    Attributes:
        algorithm: How the policy learns.
        recorded: Cache files to train on.
        random: So many random spaces join them; a policy that has seen many spaces works better on new ones.
        tasks: Tasks to train on for real, instead of files; each trial is measured.
        steps: Steps of the environment, over all searches side by side.
        seed: Decides everything but how fast it goes.
        budget: Trials of an episode: from, to.
        hidden: Units of each layer of the network.
        shape: The slates that the policy chooses from.
        start: A policy whose weights training begins with, to fine-tune it.
        logs: A folder for TensorBoard.
        records: Where the slates hold what other tasks say: how many random records of each of these are known.
        searches: How many go on side by side; None for 64 on files, and for what keeps the runner busy on tasks.
    """

    algorithm: Algorithm = Algorithm.PPO
    recorded: tuple[Path, ...] = ()
    random: int = 0
    tasks: tuple[Task, ...] = ()
    steps: int = 200_000
    seed: int = 0
    budget: tuple[int, int] = (25, 100)
    hidden: int = 32
    shape: SlateShape = SlateShape()
    start: Policy | None = None
    logs: Path | None = None
    records: int = 200
    searches: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise TunerError(f"steps={self.steps} is not positive")
        if self.random < 0:
            raise TunerError(f"random={self.random} is negative; give 0 spaces or more")
        if bool(self.tasks) == bool(self.recorded or self.random):
            raise TunerError("train on tasks, or on recorded and random spaces: give one of the two")
        if self.tasks and self.algorithm is Algorithm.EXACT:
            raise TunerError("exact gradients need recorded spaces, which know every reward; train on tasks with ppo")
        if self.tasks and (self.shape.asks_others or self.shape.stop):
            raise TunerError(f"{self.shape} asks other tasks, or stops: train on recorded and random spaces")
        if self.records < 1:
            raise TunerError(f"records={self.records} tell nothing; give 1 or more")
        if self.start and self.start.shape != self.shape:
            raise TunerError(f"the policy to start from chooses from {self.start.shape}, not from {self.shape}")


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training is.

    Attributes:
        steps: Steps so far.
        reward: Mean reward of the last hundred episodes; NaN before one has ended.
        optimum_share: Mean of optimum / best at their ends; NaN where the optimum is not known.
    """

    steps: int
    reward: float
    optimum_share: float


def recorded_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return `paths`, with folders replaced by the cache files in them: `.json.gz`, or `.json` where there are none.

    Raises:
        TunerError: a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        inside = (sorted(path.glob("*.json.gz")) or sorted(path.glob("*.json"))) if path.is_dir() else [path]
        if not inside:
            raise TunerError(f"{path} has no .json and no .json.gz files")
        found += inside
    return tuple(found)
