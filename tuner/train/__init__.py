"""Training of policies that agents use: what to train on, and Stable-Baselines3 doing it.

`trainer` and what it is made of load torch and need the extra `rl`; `train_policy` loads them when it is called.
"""

from tuner.train.start import train_policy
from tuner.train.training import Algorithm, Training, TrainingProgress, recorded_files

__all__ = ["Algorithm", "Training", "TrainingProgress", "recorded_files", "train_policy"]
