from __future__ import annotations

import numpy as np
import pytest

from tuner.agents.forest import Forest


def test_trees_that_see_everything_remember_it() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.random((60, 4))
    targets = rng.random(60)
    forest = Forest.fit(inputs, targets, rng, smallest=2, deepest=60)
    assert forest.predict(inputs) == pytest.approx(targets)


def test_an_interaction_is_found() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 4, (400, 5)) / 3
    truth = np.where(inputs[:, 0] > 0.5, inputs[:, 1], 1 - inputs[:, 1])
    forest = Forest.fit(inputs[:300], truth[:300], rng, tried=5)
    assert np.corrcoef(forest.predict(inputs[300:]), truth[300:])[0, 1] > 0.95


def test_what_does_not_vary_splits_nothing() -> None:
    rng = np.random.default_rng(0)
    forest = Forest.fit(np.ones((10, 2)), np.arange(10.0), rng, trees=3)
    assert len(forest.values) == 3
    assert forest.predict(np.zeros((2, 2))) == pytest.approx([4.5, 4.5])


def test_one_observation_is_enough() -> None:
    forest = Forest.fit(np.zeros((1, 2)), np.array([3.0]), np.random.default_rng(0))
    assert forest.predict(np.ones((3, 2))).tolist() == [3.0] * 3


def test_trees_grow_no_deeper_than_asked() -> None:
    rng = np.random.default_rng(0)
    forest = Forest.fit(rng.random((200, 3)), rng.random(200), rng, trees=5, deepest=2)
    assert len(forest.values) <= 5 * 7
    assert len(np.unique(forest.predict_each(rng.random((500, 3)))[0])) <= 4
