"""A network that scores the configs of a slate, in numpy: what a trained policy needs at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.agents.slate import SlateShape
from tuner.errors import TunerError

__all__ = ["CLOSED", "ScoringNetwork", "weight_shapes"]

CLOSED = -1e9
"""The score of a config that may not be chosen."""

Floats = NDArray[np.float32]


def weight_shapes(shape: SlateShape, hidden: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a network with `hidden` units a layer."""
    search, config = shape.search_features, shape.config_features
    return {
        "skip.weight": (1, config),
        "config.weight": (hidden, search + config),
        "config.bias": (hidden,),
        "joint.weight": (hidden, 3 * hidden),
        "joint.bias": (hidden,),
        "score.weight": (1, hidden),
    }


@dataclass(frozen=True, slots=True, eq=False)
class ScoringNetwork:
    """Scores every config of a slate in the light of the search and of the other configs.

    A layer is shared by all configs; the mean and the maximum of its units over the open configs join each config's own
    units before the second layer, as in Deep Sets (Zaheer et al., NeurIPS 2017), so that the order of the configs plays
    no part. A linear term of the config's own features is added.

    Args:
        shape: The slate's shape.
        weights: By the names of `weight_shapes`; others are left alone.

    Raises:
        TunerError: a weight is missing, or has another shape or values that are not finite.
    """

    shape: SlateShape
    weights: Mapping[str, Floats]

    def __post_init__(self) -> None:
        bias = self.weights.get("config.bias")
        hidden = len(bias) if bias is not None else 0
        for name, wanted in weight_shapes(self.shape, hidden).items():
            weight = self.weights.get(name)
            if weight is None or weight.shape != wanted:
                found = "missing" if weight is None else f"of shape {weight.shape}"
                raise TunerError(
                    f"the weight {name!r} is {found}; a policy with {self.shape} has one of shape {wanted}"
                )
            if not np.isfinite(weight).all():
                raise TunerError(f"the weight {name!r} is not finite; train the policy again")

    def scores(self, observations: Floats) -> Floats:
        """Return the scores of observations, (searches, width); -1e9 for configs that may not be chosen."""
        own, count = self.weights, len(observations)
        search = observations[:, : self.shape.search_features]
        configs = observations[:, self.shape.search_features :].reshape(
            count, self.shape.width, self.shape.config_features
        )
        is_open = configs[:, :, :1]
        around = np.broadcast_to(search[:, None, :], (count, self.shape.width, search.shape[1]))
        units = np.tanh(np.concatenate([around, configs], axis=2) @ own["config.weight"].T + own["config.bias"])
        units *= is_open
        mean = units.sum(axis=1, keepdims=True) / np.maximum(is_open.sum(axis=1, keepdims=True), 1)
        # Units lie between -1 and 1, those of closed configs are pushed below.
        highest = (units - 2 * (1 - is_open)).max(axis=1, keepdims=True)
        pooled = np.concatenate([mean, highest], axis=2)
        joined = np.concatenate([units, np.broadcast_to(pooled, (*units.shape[:2], pooled.shape[2]))], axis=2)
        joint = np.tanh(joined @ own["joint.weight"].T + own["joint.bias"])
        scores = (configs @ own["skip.weight"].T + joint @ own["score.weight"].T)[:, :, 0]
        return np.where(is_open[:, :, 0] > 0, scores, np.float32(CLOSED))
