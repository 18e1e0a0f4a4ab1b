"""Searches as Gymnasium environments; importing this registers them.

Environments evaluate through the recorder that campaigns use. They know agents' observations, and no policy's training.
"""

from gymnasium.envs.registration import register, registry

from tuner.envs.advised_vector import AdvisedVectorEnv
from tuner.envs.engine_env import EngineEnv, ServedEngine
from tuner.envs.landscape import Landscape
from tuner.envs.neighbour import NeighbourEnv
from tuner.envs.problem import Problem
from tuner.envs.replay import Actions, replay_env
from tuner.envs.reward import LogSpeedup, Outcome, Priced, Reward, ShareOfOptimum
from tuner.envs.search_env import SearchEnv
from tuner.envs.slate_env import SlateEnv
from tuner.envs.slate_vector import SlateVectorEnv
from tuner.envs.tuning import TuningEnv
from tuner.envs.vector import RunnerVectorEnv

__all__ = [
    "Actions",
    "AdvisedVectorEnv",
    "EngineEnv",
    "Landscape",
    "LogSpeedup",
    "NeighbourEnv",
    "Outcome",
    "Priced",
    "Problem",
    "Reward",
    "RunnerVectorEnv",
    "SearchEnv",
    "ServedEngine",
    "ShareOfOptimum",
    "SlateEnv",
    "SlateVectorEnv",
    "TuningEnv",
    "replay_env",
]

_ENTRY_POINTS = {
    "tuner/Engine-v0": "tuner.envs.engine_env:EngineEnv",
    "tuner/Neighbour-v0": "tuner.envs.neighbour:NeighbourEnv",
    "tuner/Replay-v0": "tuner.envs.replay:replay_env",
    "tuner/Slate-v0": "tuner.envs.slate_env:SlateEnv",
    "tuner/Tuning-v0": "tuner.envs.tuning:TuningEnv",
}

for _id, _entry_point in _ENTRY_POINTS.items():
    if _id not in registry:
        register(_id, entry_point=_entry_point)
