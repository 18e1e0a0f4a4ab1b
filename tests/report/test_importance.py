from __future__ import annotations

import math

import numpy as np
import pytest

from tuner.report.data import Parameter
from tuner.report.importance import FEWEST_TRIALS, importance
from tuner.types import Config

PARAMETERS = (
    Parameter("A", (1, 2, 4, 8)),
    Parameter("B", ("x", "y")),
    Parameter("IDLE", (0, 1, 2)),
    Parameter("ONE", (1,)),
)


def configs(count: int) -> list[Config]:
    rng = np.random.default_rng(0)
    return [
        Config(A=int(rng.choice([1, 2, 4, 8])), B=str(rng.choice(["x", "y"])), IDLE=int(rng.integers(3)), ONE=1)
        for _ in range(count)
    ]


def test_shares_are_those_of_an_additive_formula() -> None:
    tried = configs(400)
    logs = [math.log2(config.integer("A")) + (3.0 if config["B"] == "y" else 0.0) for config in tried]
    # Variances: A is uniform over 0, 1, 2, 3 (1.25), B over 0 and 3 (2.25).
    judged = importance(PARAMETERS, tried, logs)
    shares = {share.parameter: share.value for share in judged.shares}
    assert list(shares) == ["B", "A", "IDLE"]
    assert shares["B"] == pytest.approx(2.25 / 3.5, abs=0.08)
    assert shares["A"] == pytest.approx(1.25 / 3.5, abs=0.08)
    assert shares["IDLE"] < 0.01
    assert judged.explained > 0.95
    assert judged.caution == ""


def test_noise_is_not_to_be_trusted() -> None:
    rng = np.random.default_rng(1)
    judged = importance(PARAMETERS, configs(100), rng.normal(size=100).tolist())
    assert "do not trust" in judged.caution


def test_few_trials_or_equal_ones_say_nothing() -> None:
    few = importance(PARAMETERS, configs(FEWEST_TRIALS - 1), [0.0] * (FEWEST_TRIALS - 1))
    assert (few.shares, "too few" in few.caution) == ((), True)
    equal = importance(PARAMETERS, configs(50), [0.5] * 50)
    assert (equal.shares, "same time" in equal.caution) == ((), True)
