"""What was decided before at a task's place: winners that play again, and configs that nobody may promote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tuner.db import Store
from tuner.finals import Verdict
from tuner.tunable import load
from tuner.types import Config, State, Task, Trial, Winner

__all__ = ["Precedent", "precedent_of", "starts_of"]

# Each plays in the finals, and costs its share of the device's time.
_MOST_INCUMBENTS = 3


@dataclass(frozen=True, slots=True)
class Precedent:
    """What the store knows of earlier winners for a workload on a device, whatever the kernel's version.

    Attributes:
        incumbents: Configs that are served now: those of the task's own version first, then the newest.
        quarantined: Configs that are quarantined here, each with the reason.

    Example:
        >>> from tuner.types import Measurement, Status
        >>> bad, good = (Trial(Config(X=x), Measurement(Status.CORRECT)) for x in (1, 2))
        >>> precedent = Precedent((), {Config(X=1): "winner 7 is quarantined: wrong output"})
        >>> precedent.admitted([bad, good]) == [good]
        True
    """

    incumbents: tuple[Config, ...] = ()
    quarantined: Mapping[Config, str] = field(default_factory=dict)

    def admitted(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the trials whose configs may play in finals."""
        return [trial for trial in trials if trial.config not in self.quarantined]

    def told(self, verdict: Verdict, trials: Sequence[Trial]) -> Verdict:
        """Return `verdict` with what the search tried and was not let into the finals, among the rejected."""
        out = {trial.config: self.quarantined[trial.config] for trial in trials if trial.config in self.quarantined}
        return replace(verdict, rejected={**out, **verdict.rejected}) if out else verdict


def precedent_of(store: Store, task: Task) -> Precedent:
    """Return what `store` says of the place of `task`.

    Raises:
        StoreError: the store cannot be read.
    """
    space = load(task.tunable).search_space(task.workload, task.device)
    here = store.winners(state=None, place=task.place)
    served = sorted(
        (winner for winner in here if winner.state is State.PROMOTED and space.contains(winner.config)),
        key=lambda winner: winner.task.key != task.key,
    )
    quarantined = {
        winner.config: f"winner {winner.id} is quarantined: {store.history(winner.id)[-1].why}"
        for winner in here
        if winner.state is State.QUARANTINED
    }
    incumbents = dict.fromkeys(winner.config for winner in served if winner.config not in quarantined)
    return Precedent(tuple(incumbents)[:_MOST_INCUMBENTS], quarantined)


def starts_of(store: Store, tunable: str) -> list[Winner]:
    """Return the winners that searches of a tunable may start from: what is served, and what others tell of.

    Candidates that a campaign proved are not among them: their configs are quarantined, or proven for something else.

    Raises:
        StoreError: the store cannot be read.
    """
    told = [one for one in store.winners(tunable=tunable, state=State.CANDIDATE) if one.evidence.origin]
    return [*store.winners(tunable=tunable), *told]
