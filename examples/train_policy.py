"""Train a policy with PPO on your own kernel, and let it tune another shape.

Usage: python examples/train_policy.py [STEPS] [FILE]

Each trial of the training is built and measured, once: what an episode has measured, later ones know. A policy's
observations are free of scale, so that one which was trained on small shapes tunes large ones, and other kernels.
"""

import sys
from pathlib import Path

from tuner import Budget, Campaign, Plan, task_of
from tuner.agents.policy_file import save_policy
from tuner.db import MemoryStore
from tuner.runners import LocalRunner
from tuner.train import Algorithm, Training, train_policy

KERNEL = f"{Path(__file__).with_name('scaled_add.py')}:KERNEL"


def main(steps: int, path: Path) -> None:
    """Train for so many steps, keep the policy in `path`, and tune with it."""
    runner = LocalRunner()
    try:
        tasks = tuple(task_of(KERNEL, {"N": size}) for size in (4096, 16384))
        training = Training(Algorithm.PPO, tasks=tasks, steps=steps, budget=(6, 10))
        policy = train_policy(training, runner)
        save_policy(policy, path)
        print(f"{path}: {policy.training['steps']} steps, policy {policy.fingerprint}")

        task = task_of(KERNEL, {"N": 65536})
        plan = Plan(agent=f"policy:{path}", budget=Budget(trials=10))
        [result] = Campaign([task], plan, runner=runner, store=MemoryStore()).run()
        print(f"{result.config} after {result.trials} trials, {result.speedup or 1:.2f} times as fast as the default")
    finally:
        runner.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, Path(sys.argv[2] if len(sys.argv) > 2 else "policy.zip"))
