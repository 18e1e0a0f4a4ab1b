"""Which parameters decide the time: how much worse a forest predicts held-out trials once a parameter is shuffled.

A random forest (Breiman, *Random forests*, Machine Learning 45, 2001) learns the logarithm of the score from the
configs, five times, each time from four fifths of the trials, and predicts the fifth that it has not seen; on its own
training data a forest would find noise important. The share of the variance that it predicts (R squared) says whether
it understood the space at all. Shuffling one parameter's values among the held-out trials makes its squared error grow
(permutation importance: section 10 there, and https://scikit-learn.org/stable/modules/permutation_importance.html).
Half of that growth, over the variance, is the parameter's importance: if parameters were tried independently and the
forest were right, it is the share of the variance that the parameter takes part in (the total-effect index in Jansen's
form, *Analysis of variance designs for model output*, Computer Physics Communications 117, 1999; Gregorutti, Michel and
Saint-Pierre, *Correlation and variable importance in random forests*, Statistics and Computing 27, 2017).

Interactions count for each parameter in them, so that shares may add up to more than the whole. They speak of the
configs that the agent tried, not of the whole space: a parameter that the agent soon settled looks unimportant.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tuner.report.data import Importance, Parameter, Share
from tuner.report.library import ensemble, inspection, metrics, model_selection
from tuner.types import Config

__all__ = ["FEWEST_TRIALS", "LEAST_EXPLAINED", "importance"]

FEWEST_TRIALS = 20
"""With fewer correct trials, a fold holds out less than four."""

LEAST_EXPLAINED = 0.3
"""Below this share of the variance, what the forest holds important is mostly noise."""

_FOLDS = 5
_TREES = 100
_SHUFFLES = 10


def importance(
    parameters: Sequence[Parameter], configs: Sequence[Config], logs: Sequence[float], *, seed: int = 0
) -> Importance:
    """Return the importance of `parameters` for the logarithms of the scores of correct trials.

    Args:
        parameters: Those to judge; one that was tried with a single value decides nothing and is left out.
        configs: The correct trials' configs.
        logs: The logarithms of their scores.
        seed: Seed of the folds, the forests and the shuffles.
    """
    varied = [parameter for parameter in parameters if len({config[parameter.name] for config in configs}) > 1]
    if len(configs) < FEWEST_TRIALS:
        return Importance(caution=f"{len(configs)} correct trials are too few to tell; it takes {FEWEST_TRIALS}")
    target = np.asarray(logs, dtype=np.float64)
    if not varied or np.ptp(target) == 0:
        return Importance(caution="all correct trials took the same time")
    features = _features(varied, configs)
    explained, drops = _held_out(features, target, seed)
    means, spreads = drops.mean(axis=1), drops.std(axis=1)
    shares = [
        Share(parameter.name, max(0.0, float(mean)), float(spread))
        for parameter, mean, spread in zip(varied, means, spreads, strict=True)
    ]
    caution = ""
    if explained < LEAST_EXPLAINED:
        caution = (
            f"a model of these parameters predicts only {max(explained, 0):.0%} of the variance of trials that it has "
            "not seen; do not trust the order"
        )
    return Importance(tuple(sorted(shares, key=lambda share: -share.value)), explained, caution)


def _features(parameters: Sequence[Parameter], configs: Sequence[Config]) -> npt.NDArray[np.float64]:
    """Return each config's values as their positions in the parameters' values: trees ask only for the order."""
    positions = [{str(value): i for i, value in enumerate(parameter.values)} for parameter in parameters]
    return np.array(
        [
            [position[str(config[parameter.name])] for parameter, position in zip(parameters, positions, strict=True)]
            for config in configs
        ],
        dtype=np.float64,
    )


def _held_out(
    features: npt.NDArray[np.float64], target: npt.NDArray[np.float64], seed: int
) -> tuple[float, npt.NDArray[np.float64]]:
    """Return R squared over all held-out trials, and each feature's share of the variance, a column a fold."""
    predicted = np.empty_like(target)
    variance = float(np.var(target))
    drops = []
    for train, test in model_selection.KFold(_FOLDS, shuffle=True, random_state=seed).split(features):
        forest = ensemble.RandomForestRegressor(_TREES, random_state=seed).fit(features[train], target[train])
        predicted[test] = forest.predict(features[test])
        lost = inspection.permutation_importance(
            forest,
            features[test],
            target[test],
            scoring="neg_mean_squared_error",
            n_repeats=_SHUFFLES,
            random_state=seed,
        )
        drops.append(lost["importances_mean"] / (2 * variance))
    return float(metrics.r2_score(target, predicted)), np.array(drops).T
