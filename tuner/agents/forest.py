"""Extremely randomised trees, grown all at once: a few milliseconds for a hundred observations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Forest"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forest:
    """A regression ensemble whose trees are grown level by level, each level of all trees in one go.

    Each node draws some features at random and for each a threshold, uniform between the least and the largest value
    of its observations, and takes the split that explains most variance. Every tree sees all observations.

    Source: Geurts, Ernst and Wehenkel, Extremely randomized trees, Machine Learning 63 (2006).

    Attributes:
        features: The feature that each node asks for, -1 at leaves; (nodes,). The first `trees` nodes are the roots.
        thresholds: Values up to it go left; (nodes,).
        lefts: The left child, whose right sibling is the next node; (nodes,).
        values: Mean of the node's targets; (nodes,).
        trees: How many trees.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> inputs = rng.random((200, 3))
        >>> forest = Forest.fit(inputs, 2 * inputs[:, 1], rng)
        >>> bool(np.abs(forest.predict(inputs) - 2 * inputs[:, 1]).mean() < 0.1)
        True
    """

    features: NDArray[np.int64]
    thresholds: Floats
    lefts: NDArray[np.int64]
    values: Floats
    trees: int

    @classmethod
    def fit(
        cls,
        inputs: Floats,
        targets: Floats,
        rng: np.random.Generator,
        *,
        trees: int = 24,
        tried: int | None = None,
        smallest: int = 2,
        deepest: int = 16,
    ) -> Forest:
        """Grow a forest.

        Args:
            inputs: (observations, features), at least one observation.
            targets: (observations,).
            rng: Where chance comes from.
            trees: How many.
            tried: Features that a node tries; the square root of their number, rounded up, and at least 3 by default.
            smallest: A node of fewer observations is a leaf.
            deepest: Most splits from a root to a leaf.
        """
        count, width = inputs.shape
        tried = min(width, tried or max(3, int(np.ceil(np.sqrt(width)))))
        # Observations of all trees, those of one node side by side.
        members = np.tile(np.arange(count), trees)
        starts = np.arange(trees) * count
        ids = np.arange(trees)
        features = [np.full(trees, -1)]
        thresholds = [np.zeros(trees)]
        lefts = [np.zeros(trees, dtype=np.int64)]
        values = [np.full(trees, targets.mean())]
        total = trees
        for _ in range(deepest):
            sizes = np.diff(np.append(starts, len(members)))
            own = targets[members]
            node = np.repeat(np.arange(len(starts)), sizes)
            # A drawn feature is not drawn again by the same node only by chance: cheaper, and as good.
            drawn = rng.integers(0, width, (tried, len(starts)))
            columns = inputs[members, drawn[:, node]]
            low = np.minimum.reduceat(columns, starts, axis=1)
            high = np.maximum.reduceat(columns, starts, axis=1)
            cuts = low + rng.random(low.shape) * (high - low)
            goes_left = columns <= cuts[:, node]
            left_sizes = np.add.reduceat(goes_left, starts, axis=1, dtype=np.int64)
            left_sums = np.add.reduceat(np.where(goes_left, own, 0.0), starts, axis=1)
            sums = np.add.reduceat(own, starts)
            right_sizes = sizes - left_sizes
            able = (left_sizes > 0) & (right_sizes > 0)
            gains = np.where(
                able,
                left_sums**2 / np.maximum(left_sizes, 1) + (sums - left_sums) ** 2 / np.maximum(right_sizes, 1),
                -np.inf,
            )
            best = gains.argmax(axis=0)
            at = np.arange(len(starts))
            # A node of equal targets has nothing left to tell.
            uneven = np.maximum.reduceat(own, starts) > np.minimum.reduceat(own, starts)
            splits = able[best, at] & (sizes >= smallest) & uneven
            if not splits.any():
                break
            parents = ids[splits]
            place = np.concatenate(features), np.concatenate(thresholds), np.concatenate(lefts)
            children = total + 2 * np.arange(len(parents))
            place[0][parents] = drawn[best, at][splits]
            place[1][parents] = cuts[best, at][splits]
            place[2][parents] = children
            features, thresholds, lefts = [place[0]], [place[1]], [place[2]]
            # Sorted by child, observations of one node are side by side again; those of leaves drop out.
            kept = splits[node]
            chosen_left = goes_left[best[node], np.arange(len(members))][kept]
            rank = (np.cumsum(splits) - 1)[node][kept]
            child = 2 * rank + ~chosen_left
            order = np.argsort(child, kind="stable")
            members = members[kept][order]
            child = child[order]
            starts = np.flatnonzero(np.diff(child, prepend=-1))
            ids = total + np.arange(2 * len(parents))
            total += 2 * len(parents)
            features.append(np.full(len(ids), -1))
            thresholds.append(np.zeros(len(ids)))
            lefts.append(np.zeros(len(ids), dtype=np.int64))
            values.append(np.add.reduceat(targets[members], starts) / np.diff(np.append(starts, len(members))))
        return cls(
            np.concatenate(features), np.concatenate(thresholds), np.concatenate(lefts), np.concatenate(values), trees
        )

    def predict(self, inputs: Floats) -> Floats:
        """Return the mean over the trees for each of (inputs, features); (inputs,)."""
        mean: Floats = self.predict_each(inputs).mean(axis=0)
        return mean

    def predict_each(self, inputs: Floats) -> Floats:
        """Return what each tree says; (trees, inputs)."""
        count = len(inputs)
        nodes = np.repeat(np.arange(self.trees), count)
        rows = np.tile(np.arange(count), self.trees)
        moving = np.arange(len(nodes))
        while True:
            here = nodes[moving]
            feature = self.features[here]
            inner = feature >= 0
            if not inner.all():
                moving, here, feature = moving[inner], here[inner], feature[inner]
            if not len(moving):
                return self.values[nodes].reshape(self.trees, count)
            nodes[moving] = self.lefts[here] + (inputs[rows[moving], feature] > self.thresholds[here])
