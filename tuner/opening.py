"""The first trials of a task whose tunable knows what matters: changes of the default, one at a time, then together.

A trial of an engine costs a start of it, so that a search has few. Random configs change everything at once, and most
of them something for the worse.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from tuner.objective import Objective
from tuner.search_spaces import SearchSpace
from tuner.types import Config, Trial

__all__ = ["Opening"]


class Opening:
    """Proposes what a tunable says to try first; when all of that is known, once, the changes that helped together.

    Args:
        space: The task's configs.
        default: Its default.
        tries: What its tunable says to try first; one that says nothing has no opening.
        objective: What helps.

    Example:
        >>> from tuner.search_spaces import Parameter
        >>> space = SearchSpace([Parameter.boolean("FAST")])
        >>> Opening(space, space.default, [Config(FAST=True)], Objective()).propose(set(), [])
        Config(FAST=True)
    """

    def __init__(self, space: SearchSpace, default: Config, tries: Iterable[Config], objective: Objective) -> None:
        self._space = space
        self._default = default
        self._objective = objective
        self._tries = [config for config in dict.fromkeys(tries) if space.contains(config)]

    def propose(self, known: Collection[Config], trials: Sequence[Trial]) -> Config | None:
        """Return the next config; None where there is nothing to add to what the agent asks for.

        Args:
            known: What was proposed already.
            trials: What has been told.
        """
        for config in self._tries:
            if config not in known:
                return config
        together = self._together(trials)
        return together if together is not None and together not in known else None

    def _together(self, trials: Sequence[Trial]) -> Config | None:
        """Return the default with every change that helped, the one that helped most first; None before all are told.

        Of two changes that do not go together, or of one parameter, the first counts.
        """
        told = {trial.config: trial for trial in trials}
        if self._objective.beside or not self._tries or any(one not in told for one in (self._default, *self._tries)):
            # With several objectives nothing says which change is worth what it costs in another.
            return None
        scored = [(self._relative(told[one], told[self._default]), i, one) for i, one in enumerate(self._tries)]
        found, changed = self._default, 0
        for score, _, config in sorted(scored):
            changes = {name: value for name, value in config.items() if value != self._default.get(name)}
            taken = any(found.get(name) != self._default.get(name) for name in changes)
            if score >= 0 or taken:
                continue
            if self._space.contains(joined := Config({**found, **changes})):
                found, changed = joined, changed + 1
        return found if changed > 1 else None

    def _relative(self, trial: Trial, default: Trial) -> float:
        """Return the logarithm of a trial's score over the default's; below 0 is better, and infinite is unusable."""
        score = self._objective.log_score(trial)
        if math.isinf(score) or self._objective.is_paired(trial.measurement):
            # It was measured beside the default, and its score says so already.
            return score
        return score - self._objective.log_score(default)
