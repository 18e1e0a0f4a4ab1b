from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tuner.agents import create_agent
from tuner.agents.policy_file import Policy, load_policy, save_policy
from tuner.agents.slate import ADVISED, INFORMED, SlateShape
from tuner.campaign import task_of
from tuner.envs import Landscape, ShareOfOptimum, SlateVectorEnv
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.runners import LocalRunner
from tuner.search_spaces import Parameter, SearchSpace
from tuner.train import Algorithm, Training, TrainingProgress, recorded_files, train_policy
from tuner.train.module import ScoringModule
from tuner.train.trainer import Trainer

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "examples/recorded"


def test_numpy_computes_what_torch_does() -> None:
    """On real observations, of which some configs are closed."""
    shape = SlateShape(6, 3, 4)
    module = ScoringModule(shape, 16)
    weights = {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
    env = SlateVectorEnv([Landscape.random(np.random.default_rng(1))], 32, shape=shape, budget=60)
    seen, _ = env.reset(seed=0)
    for _ in range(40):
        seen, *_ = env.step((np.random.default_rng(0).random(env.open.shape) * env.open).argmax(axis=1))
    assert not env.open.all()
    with torch.no_grad():
        scores, _ = module(torch.from_numpy(seen))
        alone = module.forward_actor(torch.from_numpy(seen))
    network = Policy("ppo", shape, weights, 60).network
    np.testing.assert_allclose(network.scores(seen), scores.numpy(), rtol=1e-4, atol=1e-5)
    assert (alone == scores).all()


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_every_algorithm_trains_a_policy_that_an_agent_uses(algorithm: Algorithm, tmp_path: Path) -> None:
    training = Training(algorithm, random=2, steps=3000, hidden=8, logs=tmp_path / "logs", searches=8, budget=(10, 20))
    seen: list[TrainingProgress] = []
    policy = train_policy(training, watch=seen.append)
    save_policy(policy, tmp_path / "policy.zip")
    kept = load_policy(tmp_path / "policy.zip")
    assert kept.algorithm == algorithm
    assert kept.training["steps"] >= 3000
    assert [space["name"] for space in kept.training["spaces"]] == ["random-0", "random-1"]
    assert {"torch", "stable-baselines3", "python"} <= set(kept.versions)
    assert seen[-1].steps >= 3000
    assert 0 < seen[-1].optimum_share <= 1
    assert list((tmp_path / "logs").glob(f"{algorithm}_1/events.*"))
    agent = create_agent(
        f"policy:{tmp_path / 'policy.zip'}", SearchSpace([Parameter.integer("A", 0, 30)]), Objective(), seed=0
    )
    assert len(agent.ask(8)) == 8


@pytest.mark.slow
def test_training_makes_better_policies(tmp_path: Path) -> None:
    """Trained on random spaces, it comes nearer to the optimum of others than chance does."""
    policy = train_policy(Training(Algorithm.PPO, random=20, steps=100_000, seed=1))
    others = [Landscape.random(np.random.default_rng(1000 + i), f"other-{i}") for i in range(12)]
    shares = []
    for choose in (
        policy.network.scores,
        lambda seen: np.random.default_rng(0).random((len(seen), policy.shape.width)),
    ):
        env = SlateVectorEnv(others, 96, shape=policy.shape, budget=50)
        seen, _ = env.reset(seed=5)
        ended = np.zeros(96, dtype=np.bool_)
        while not ended.any():
            seen, _, ended, _, info = env.step(np.where(env.open, choose(seen), -np.inf).argmax(axis=1))
        shares.append(info["optimum_share"].mean())
    assert shares[0] > shares[1] + 0.02


def test_the_same_seed_trains_the_same() -> None:
    training = Training(random=2, steps=1000, hidden=8, searches=8)
    assert train_policy(training).fingerprint == train_policy(training).fingerprint


def test_stopping_keeps_what_was_learned() -> None:
    training = Training(random=1, steps=1_000_000, hidden=4, searches=8)
    seen: list[TrainingProgress] = []
    policy = train_policy(training, watch=seen.append, stopping=lambda: len(seen) >= 50)
    assert policy.training["steps"] == 50 * 8
    assert policy.network.scores(np.zeros((1, policy.shape.length), dtype=np.float32)).shape == (1, 16)


@pytest.mark.parametrize("algorithm", [Algorithm.PPO, Algorithm.DQN])
def test_fine_tuning_begins_with_the_policys_weights(algorithm: Algorithm) -> None:
    start = train_policy(Training(algorithm, random=1, steps=600, hidden=8, searches=8))
    going_on = Trainer(Training(algorithm, recorded=recorded_files([RECORDED]), steps=100, searches=8, start=start))
    for name, weight in going_on.policy.weights.items():
        assert (weight == start.weights[name]).all(), name
    tuned = going_on.run()
    assert tuned.training["started_from"] == start.fingerprint
    assert tuned.training["spaces"][0]["name"] == "add_rmsnorm_decode_epyc"


def test_a_policy_is_trained_on_a_real_runner() -> None:
    runner = LocalRunner(builders=1)
    try:
        task = task_of("tuner.testing.toys:FRAGILE", {"N": 4})
        training = Training(tasks=(task,), steps=64, hidden=4, budget=(8, 12), searches=2)
        policy = train_policy(training, runner)
    finally:
        runner.close()
    assert policy.training["spaces"] == [{"task": task.key, "tunable": "tuner.testing.toys:FRAGILE"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "train on tasks, or on recorded and random spaces"),
        ({"random": 1, "steps": 0}, "steps=0 is not positive"),
        ({"random": -1}, "random=-1 is negative"),
    ],
)
def test_bad_requests(options: dict[str, int], message: str) -> None:
    with pytest.raises(TunerError, match=message):
        Training(**options)  # type: ignore[arg-type]  # what a test wants to try


def test_a_folder_without_recorded_spaces(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"has no \.json and no \.json\.gz files"):
        recorded_files([tmp_path])


def tuner(*words: str) -> list[str]:
    return [sys.executable, "-m", "tuner", *words]


@pytest.mark.slow
def test_the_command_trains_and_replay_uses_it(tmp_path: Path) -> None:
    out = tmp_path / "policy.zip"
    words = ["--recorded", str(RECORDED), "--steps", "2000", "--seed", "3", "--out", str(out), "--json"]
    done = subprocess.run(tuner("train", *words), cwd=ROOT, capture_output=True, text=True, check=True)
    assert load_policy(out).fingerprint in done.stdout
    replay = tuner(
        "replay", *map(str, recorded_files([RECORDED])), "--agent", f"policy:{out}", "--trials", "12", "--seeds", "2"
    )
    assert "policy:" in subprocess.run(replay, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_trained(tmp_path: Path) -> None:
    out = tmp_path / "policy.zip"
    command = tuner(
        "train", "--random", "2", "--steps", "100000000", "--out", str(out), "--logs", str(tmp_path / "logs")
    )
    with subprocess.Popen(command, cwd=ROOT) as running:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "logs").glob("*/events.*")) and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(2)
        os.kill(running.pid, signal.SIGINT)
        assert running.wait(timeout=60) == 130
    assert load_policy(out).training["steps"] > 0


def test_the_command_refuses_before_it_trains(tmp_path: Path) -> None:
    for words, message in (
        (["--random", "1", "--out", str(tmp_path / "no/policy.zip")], "there is no folder"),
        (
            ["--random", "1", "--budget", "4", "--out", str(tmp_path / "policy.zip")],
            "--budget 4 leaves a policy nothing",
        ),
        (["--tasks", "no_such_kernel@x", "--out", str(tmp_path / "policy.zip")], "unknown kernel"),
    ):
        done = subprocess.run(tuner("train", *words), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1
        assert message in done.stderr


@pytest.mark.parametrize("algorithm", [Algorithm.EXACT, Algorithm.MASKABLE_PPO])
def test_policies_over_advice_are_trained(algorithm: Algorithm) -> None:
    training = Training(algorithm, random=2, steps=1200, hidden=8, searches=4, shape=ADVISED, budget=(10, 16))
    untrained = Trainer(Training(Algorithm.PPO, random=1, steps=1, hidden=8, searches=2, shape=ADVISED)).policy
    names = ADVISED.config_names
    assert untrained.weights["skip.weight"][0, names.index("improvement")] == 3
    policy = train_policy(training)
    assert policy.weights["skip.weight"].shape == untrained.weights["skip.weight"].shape
    assert policy.weights["skip.weight"][0, names.index("improvement")] != 3


def test_exact_gradients_find_the_actions_that_pay() -> None:
    """On the spaces that it was trained on, what it draws is worth more than what chance draws from the same slates."""
    policy = train_policy(Training(Algorithm.EXACT, random=4, steps=12_000, hidden=8, searches=32, budget=(15, 25)))
    generator = np.random.default_rng(0)
    env = SlateVectorEnv([Landscape.random(generator) for _ in range(4)], 128, budget=20, reward=ShareOfOptimum())
    seen, _ = env.reset(seed=1)
    drawn = chance = 0.0
    for _ in range(15):
        rewards, is_open = env.all_rewards(), env.open
        scores = policy.network.scores(seen)
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        drawn += float((rewards * chances).sum(axis=1).dot(1 / chances.sum(axis=1)))
        chance += float((rewards.sum(axis=1) / is_open.sum(axis=1)).sum())
        seen, *_ = env.step((generator.random(is_open.shape) * is_open).argmax(axis=1))
    assert drawn > 1.1 * chance


def test_exact_gradients_need_recorded_spaces() -> None:
    with pytest.raises(TunerError, match="exact gradients need recorded spaces"):
        Training(Algorithm.EXACT, tasks=(task_of("tuner.testing.toys:FRAGILE", {"N": 4}),))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [Algorithm.EXACT, Algorithm.PPO])
def test_a_policy_learns_whom_to_ask_and_when_to_stop(algorithm: Algorithm) -> None:
    training = Training(algorithm, random=1, steps=64, hidden=4, searches=4, budget=(12, 16), shape=INFORMED)
    policy = train_policy(training)
    assert policy.shape == INFORMED
    assert "Priced" in policy.training["reward"]
    weights = dict(zip(INFORMED.config_names, policy.weights["skip.weight"][0].tolist(), strict=True))
    # It begins as expected improvement, given what others say, that hardly ever stops.
    assert weights["informed_improvement"] > weights["improvement"] > 0 > weights["from_stop"]


def test_what_asks_others_is_not_trained_on_tasks() -> None:
    with pytest.raises(TunerError, match="train on recorded and random spaces"):
        Training(tasks=(task_of("tuner.testing.toys:FRAGILE", {"N": 4}),), shape=INFORMED)
